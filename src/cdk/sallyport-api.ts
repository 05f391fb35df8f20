import { Duration, SecretValue, Stack } from "aws-cdk-lib";
import type { CfnApi, CfnStage } from "aws-cdk-lib/aws-apigatewayv2";
import { Rule, Schedule } from "aws-cdk-lib/aws-events";
import { LambdaFunction } from "aws-cdk-lib/aws-events-targets";
import { Grant, type IGrantable } from "aws-cdk-lib/aws-iam";
import { ARecord, RecordTarget } from "aws-cdk-lib/aws-route53";
import { type ISecret, Secret } from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import { check } from "../aws/checks.ts";
import type { GatewayDefinition } from "../aws/define-gateway.ts";
import { connectionArns, MANAGE_CONNECTIONS } from "../aws/policies.ts";
import { needsSecret } from "../aws/provisioning/desired.ts";
import { cloudFormationTemplate, numbered } from "../aws/template.ts";
import { parseOptions } from "../options.ts";
import { API_PROPS, type SallyportApiProps } from "./api-props.ts";
import { definitionOf } from "./definition.ts";
import { TemplateConstructs } from "./template-constructs.ts";

export type { SallyportApiDefinition, SallyportApiDomain, SallyportApiProps } from "./api-props.ts";

/** A domain of the API, and where its DNS record must point. */
export interface SallyportApiDnsRecord {
  readonly name: string;
  /** The target of a CNAME or alias record. */
  readonly target: string;
  /** The hosted zone of the target, for an alias record of Route 53. */
  readonly hostedZoneId: string;
}

/** The length of a secret that the construct creates, in letters and digits. */
const SECRET_LENGTH = 64;

/**
 * A WebSocket API with the same resources as the template that `sallyport gateway export` prints.
 *
 * ```ts
 * const api = new SallyportApi(this, "Ws", { definition: { name: "chat" }, handler });
 * handler.addEnvironment("SALLYPORT_GATEWAY", api.registrationJson);
 * ```
 *
 * Register the gateway in the app with `registerGateway`, before clients connect.
 */
export class SallyportApi extends Construct {
  readonly api: CfnApi;
  readonly stage: CfnStage;
  /** The id that AWS gives the API. */
  readonly apiId: string;
  /** The base URL of the Management API, for `registerGateway`. */
  readonly endpoint: string;
  /** The URL that browsers connect to, such as `wss://ws.example.com`. */
  readonly url: string;
  /**
   * The arguments of `registerGateway` as JSON: `name`, `apiId`, `endpoint`, `stage` and `replies`.
   * Add `secret` if the API has one.
   */
  readonly registrationJson: string;
  /** The secret that the API sends to URLs. Undefined if all targets are Lambda functions. */
  readonly secret: ISecret | undefined;
  /** The domains of the API, without duplicates. */
  readonly dnsRecords: readonly SallyportApiDnsRecord[];
  readonly #definition: GatewayDefinition;

  /** @throws ConfigurationError for a property or an option that AWS would reject */
  constructor(scope: Construct, id: string, props: SallyportApiProps) {
    super(scope, id);
    const where = `SallyportApi "${this.node.path}"`;
    const checked = parseOptions(where, API_PROPS, props) as SallyportApiProps;
    const stack = Stack.of(this);
    const definition = definitionOf(where, stack, checked);
    this.#definition = definition;
    this.secret = this.#secretOf(where, checked);
    const template = cloudFormationTemplate(definition);
    const constructs = new TemplateConstructs(this, template, {
      "AWS::Region": stack.region,
      "AWS::URLSuffix": stack.urlSuffix,
      SallyportSecret: this.secret ? referenceTo(this.secret, checked.secretVersionId) : "",
    });
    const output = (name: string) => constructs.text(template.Outputs[name]?.Value);
    this.api = constructs.get("Api");
    this.stage = constructs.get("Stage");
    this.apiId = output("ApiId");
    this.endpoint = output("Endpoint");
    this.url = output("Url");
    const { name, stage, replies } = definition;
    const { apiId, endpoint } = this;
    this.registrationJson = stack.toJsonString({ name, apiId, endpoint, stage, replies });
    this.dnsRecords = domainNames(definition).map((domain, index) => ({
      name: domain,
      target: output(numbered("DnsTarget", index)),
      hostedZoneId: output(numbered("DnsTargetZone", index)),
    }));
    this.#createDnsRecords(checked);
    this.#connectHandlers(where, checked);
  }

  /**
   * Allows a principal to call the Management API of this stage: to send to connections, to close
   * them and to look them up.
   */
  grantManageConnections(grantee: IGrantable): Grant {
    const { account } = Stack.of(this);
    return Grant.addToPrincipal({
      grantee,
      actions: [MANAGE_CONNECTIONS],
      resourceArns: [...connectionArns(this.#definition, account, this.apiId)],
    });
  }

  #secretOf(where: string, { secret, secretVersionId }: SallyportApiProps): ISecret | undefined {
    if (needsSecret(this.#definition)) {
      return (
        secret ??
        new Secret(this, "Secret", {
          description: `Sent by the WebSocket API of the gateway "${this.#definition.name}"`,
          generateSecretString: { excludePunctuation: true, passwordLength: SECRET_LENGTH },
        })
      );
    }
    const unused = secret ? "secret" : secretVersionId === undefined ? undefined : "secretVersionId";
    check(
      where,
      unused === undefined,
      `${unused} is not used, because every target is a Lambda function. Remove it`,
    );
    return undefined;
  }

  #createDnsRecords({ domain = [] }: SallyportApiProps): void {
    for (const [index, { name, target, hostedZoneId }] of this.dnsRecords.entries()) {
      const zone = [domain].flat().find((each) => each.name === name && each.hostedZone)?.hostedZone;
      if (!zone) continue;
      const alias = RecordTarget.fromAlias({ bind: () => ({ dnsName: target, hostedZoneId }) });
      // With a dot at its end, CDK does not append the name of the zone.
      new ARecord(this, numbered("DnsRecord", index), { zone, recordName: `${name}.`, target: alias });
    }
  }

  #connectHandlers(where: string, { handler, routeHandlers = {}, schedule }: SallyportApiProps): void {
    for (const each of new Set([...(handler ? [handler] : []), ...Object.values(routeHandlers)])) {
      this.grantManageConnections(each);
    }
    check(
      where,
      handler !== undefined || schedule !== true,
      "schedule is true, but there is no handler to invoke. Add handler, or remove schedule",
    );
    if (!handler || schedule === false) return;
    new Rule(this, "EachMinute", {
      description: `Ends grants on time at the gateway "${this.#definition.name}"`,
      schedule: Schedule.rate(Duration.minutes(1)),
      targets: [new LambdaFunction(handler)],
    });
  }
}

/** Returns a dynamic reference, which CloudFormation replaces with the secret at the deployment. */
function referenceTo({ secretArn }: ISecret, versionId: string | undefined): string {
  const options = versionId === undefined ? {} : { versionId };
  return SecretValue.secretsManager(secretArn, options).unsafeUnwrap();
}

function domainNames({ domains }: GatewayDefinition): readonly string[] {
  return [...new Set(domains.map(({ name }) => name))];
}
