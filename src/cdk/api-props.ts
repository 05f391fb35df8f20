import type { ICertificate } from "aws-cdk-lib/aws-certificatemanager";
import type { IFunction } from "aws-cdk-lib/aws-lambda";
import type { ILogGroup } from "aws-cdk-lib/aws-logs";
import type { IHostedZone } from "aws-cdk-lib/aws-route53";
import type { ISecret } from "aws-cdk-lib/aws-secretsmanager";
import * as v from "valibot";
import type { GatewayDefinition, GatewayOptions } from "../aws/define-gateway.ts";
import { booleanOption, optionsOf, recordOption } from "../options.ts";

/**
 * The options of `defineGateway`, in which `region` and `target` are optional. The stack has a
 * region, and `handler` or `url` is the target.
 */
export type SallyportApiDefinition = Omit<GatewayOptions, "region" | "target"> &
  Partial<Pick<GatewayOptions, "region" | "target">>;

/** A custom domain of a {@link SallyportApi}. */
export interface SallyportApiDomain {
  /** The domain name in lower case, such as `ws.example.com`. */
  readonly name: string;
  /** A certificate for the name, in the region of the stack. */
  readonly certificate: ICertificate;
  /** The path below the name, such as `chat` for `wss://ws.example.com/chat`. Default: none. */
  readonly mappingKey?: string | undefined;
  /** The zone in which an alias record for the name is created. Default: no record. */
  readonly hostedZone?: IHostedZone | undefined;
}

/** The properties of a {@link SallyportApi}. */
export interface SallyportApiProps {
  /**
   * The gateway: the result of `defineGateway`, or its options. Properties of the construct replace
   * those of the definition.
   */
  readonly definition: GatewayDefinition | SallyportApiDefinition;
  /**
   * The Lambda function for `$connect`, `$disconnect` and `$default`, which uses `lambdaHandler`.
   * It replaces `target`. The function can then also call the Management API.
   */
  readonly handler?: IFunction | undefined;
  /**
   * The URL of a view, such as `https://www.example.com/ws/chat`. It replaces `target`. It can
   * contain tokens, but must begin with `https://`.
   */
  readonly url?: string | undefined;
  /**
   * Lambda functions for more routes, by route key. They are added to `routes` of the definition.
   * Default: none.
   */
  readonly routeHandlers?: Readonly<Record<string, IFunction>> | undefined;
  /** A custom domain, or a list of them. It replaces `domain` of the definition. */
  readonly domain?: SallyportApiDomain | readonly SallyportApiDomain[] | undefined;
  /**
   * The log group for the access log. It replaces `destinationArn` of `accessLog`. API Gateway needs
   * a role for logs, which an account has once for each region.
   */
  readonly accessLogGroup?: ILogGroup | undefined;
  /**
   * The secret that the API sends to the URLs, 32 to 256 letters, digits, `_` or `-`. Default: the
   * construct creates a secret with 64 letters and digits.
   */
  readonly secret?: ISecret | undefined;
  /**
   * The id of a version of the secret. CloudFormation reads a secret only when the template changes,
   * so set it to replace the secret. Default: the current version at the first deployment.
   */
  readonly secretVersionId?: string | undefined;
  /**
   * Whether a rule of EventBridge invokes `handler` each minute, so that grants end on time while no
   * event arrives. Default: true if there is a `handler`.
   */
  readonly schedule?: boolean | undefined;
}

const functionOption = constructOption<IFunction>("functionArn", "a Lambda function, such as NodejsFunction");

const domainSchema = optionsOf<SallyportApiDomain>()({
  name: v.string("must be a domain name in lower case, such as ws.example.com"),
  certificate: constructOption<ICertificate>("certificateArn", "a certificate of aws-certificatemanager"),
  mappingKey: v.optional(v.string("must be the path below the name")),
  hostedZone: v.optional(constructOption<IHostedZone>("hostedZoneId", "a hosted zone of aws-route53")),
});

/** The schema of the properties. `defineGateway` checks the definition. */
export const API_PROPS = optionsOf<SallyportApiProps>()({
  definition: v.custom<GatewayDefinition | SallyportApiDefinition>(
    (value) => typeof value === "object" && value !== null,
    "must be the result of defineGateway(), or its options",
  ),
  handler: v.optional(functionOption),
  url: v.optional(v.string("must be a URL such as https://www.example.com/ws/chat")),
  routeHandlers: v.optional(
    recordOption(v.string(), functionOption, "an object of route keys and Lambda functions"),
  ),
  domain: v.optional(
    v.lazy((value): v.GenericSchema<SallyportApiDomain | readonly SallyportApiDomain[]> => {
      return (Array.isArray(value) ? v.array(domainSchema) : domainSchema) as never;
    }),
  ),
  accessLogGroup: v.optional(constructOption<ILogGroup>("logGroupName", "a log group of aws-logs")),
  secret: v.optional(constructOption<ISecret>("secretArn", "a secret of aws-secretsmanager")),
  secretVersionId: v.optional(v.string("must be the id of a version of the secret")),
  schedule: v.optional(booleanOption),
});

/** Accepts a construct that has an attribute, also one that belongs to another aws-cdk-lib. */
function constructOption<Type extends object>(attribute: keyof Type & string, words: string) {
  return v.custom<Type>(
    (value) =>
      typeof value === "object" &&
      value !== null &&
      typeof (value as Readonly<Record<string, unknown>>)[attribute] === "string",
    `must be ${words}`,
  );
}
