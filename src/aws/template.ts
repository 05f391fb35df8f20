import { createHash } from "node:crypto";
import { ConfigurationError } from "../errors.ts";
import type { GatewayDefinition } from "./define-gateway.ts";
import { type DomainOptions, domainAddress } from "./definition-parts.ts";
import { callsArn } from "./names.ts";
import { type DesiredRoute, desiredApi, needsSecret, SECRET_PARAMETER } from "./provisioning/desired.ts";
import { functionsOf } from "./targets.ts";

type Resource = {
  readonly Type: string;
  readonly Properties: object;
  readonly DependsOn?: readonly string[];
};

/** A CloudFormation template, as JSON. */
export interface CloudFormationTemplate {
  readonly AWSTemplateFormatVersion: "2010-09-09";
  readonly Description: string;
  readonly Parameters?: Readonly<Record<string, object>>;
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs: Readonly<
    Record<string, { readonly Value: object | string; readonly Description: string }>
  >;
}

/** The maximum number of resources of a template. Source: AWS CloudFormation user guide, quotas. */
const MAX_RESOURCES = 500;

/**
 * A reference to the parameter that contains the secret. CloudFormation replaces it with the value.
 */
const SECRET_REFERENCE = { "Fn::Sub": `'\${SallyportSecret}'` };

/**
 * Returns a gateway as a CloudFormation template, for teams that deploy with CloudFormation.
 *
 * The stage has `AutoDeploy`, because a template cannot determine when to deploy. Register the
 * gateway in the app with `registerGateway`. Pass it the outputs of the stack and the secret that
 * you passed as a parameter.
 *
 * @param definition the gateway, as returned by `defineGateway`
 * @returns the template. It has a parameter for the secret if a target is called by URL.
 * @throws ConfigurationError if the gateway needs more than the 500 resources of a template
 */
export function cloudFormationTemplate(definition: GatewayDefinition): CloudFormationTemplate {
  const { name, stage, region, throttling, accessLog } = definition;
  const hasSecret = needsSecret(definition);
  const { api, routes } = desiredApi(definition, hasSecret ? "secret" : undefined);
  // Without the tags of Sallyport: only the stack changes the resources that it created.
  const tagged = Object.keys(definition.tags).length > 0 ? { Tags: definition.tags } : {};
  const ApiId = { Ref: "Api" };
  const resources: Record<string, Resource> = {
    Api: {
      Type: "AWS::ApiGatewayV2::Api",
      Properties: { ...api, ProtocolType: "WEBSOCKET", ...tagged },
    },
    Stage: {
      Type: "AWS::ApiGatewayV2::Stage",
      Properties: {
        ApiId,
        StageName: stage,
        AutoDeploy: true,
        ...tagged,
        ...(throttling
          ? {
              DefaultRouteSettings: {
                ThrottlingRateLimit: throttling.ratePerSecond,
                ThrottlingBurstLimit: throttling.burst,
              },
            }
          : {}),
        ...(accessLog
          ? { AccessLogSettings: { DestinationArn: accessLog.destinationArn, Format: accessLog.format } }
          : {}),
      },
    },
  };
  for (const route of routes) Object.assign(resources, routeResources(route));
  for (const [index, lambda] of functionsOf(definition).entries()) {
    const source = callsArn(region, `\${AWS::AccountId}`, `\${Api}`);
    resources[`Permission${index + 1}`] = {
      Type: "AWS::Lambda::Permission",
      Properties: {
        FunctionName: lambda,
        Action: "lambda:InvokeFunction",
        Principal: "apigateway.amazonaws.com",
        SourceArn: { "Fn::Sub": source },
      },
    };
  }
  Object.assign(resources, domainResources(definition));
  const count = Object.keys(resources).length;
  if (count > MAX_RESOURCES) {
    throw new ConfigurationError(
      `Gateway "${name}" needs ${count} resources, but a CloudFormation template can have at most ${MAX_RESOURCES}. Use fewer routes, or run gateway apply instead.`,
    );
  }
  return {
    AWSTemplateFormatVersion: "2010-09-09",
    Description: `WebSocket API of the gateway "${name}"`,
    ...(hasSecret
      ? {
          Parameters: {
            SallyportSecret: {
              Type: "String",
              NoEcho: true,
              AllowedPattern: "[A-Za-z0-9_-]{32,256}",
              Description: "The secret of the gateway. Pass the same secret to registerGateway.",
            },
          },
        }
      : {}),
    Resources: resources,
    Outputs: outputs(definition),
  };
}

function routeResources({ key, integration, isAnswered }: DesiredRoute): Record<string, Resource> {
  const suffix = logicalName(key);
  const ApiId = { Ref: "Api" };
  const { RequestParameters, ...fields } = integration;
  const parameters: Record<string, unknown> = { ...RequestParameters };
  if (SECRET_PARAMETER in parameters) parameters[SECRET_PARAMETER] = SECRET_REFERENCE;
  return {
    [`Integration${suffix}`]: {
      Type: "AWS::ApiGatewayV2::Integration",
      Properties: {
        ApiId,
        ...fields,
        ...(Object.keys(parameters).length > 0 ? { RequestParameters: parameters } : {}),
      },
    },
    [`Route${suffix}`]: {
      Type: "AWS::ApiGatewayV2::Route",
      Properties: {
        ApiId,
        RouteKey: key,
        AuthorizationType: "NONE",
        Target: { "Fn::Sub": `integrations/\${Integration${suffix}}` },
        ...(isAnswered ? { RouteResponseSelectionExpression: "$default" } : {}),
      },
    },
    ...(isAnswered
      ? {
          [`RouteResponse${suffix}`]: {
            Type: "AWS::ApiGatewayV2::RouteResponse",
            Properties: { ApiId, RouteId: { Ref: `Route${suffix}` }, RouteResponseKey: "$default" },
          },
        }
      : {}),
  };
}

function domainResources({ domains }: GatewayDefinition): Record<string, Resource> {
  const resources: Record<string, Resource> = {};
  for (const [index, { name, certificateArn, mappingKey }] of domains.entries()) {
    const domain = domainId(domains, name);
    resources[domain] ??= {
      Type: "AWS::ApiGatewayV2::DomainName",
      Properties: {
        DomainName: name,
        DomainNameConfigurations: [
          { CertificateArn: certificateArn, EndpointType: "REGIONAL", SecurityPolicy: "TLS_1_2" },
        ],
      },
    };
    resources[numbered("Mapping", index)] = {
      Type: "AWS::ApiGatewayV2::ApiMapping",
      Properties: {
        ApiId: { Ref: "Api" },
        DomainName: { Ref: domain },
        Stage: { Ref: "Stage" },
        ...(mappingKey ? { ApiMappingKey: mappingKey } : {}),
      },
    };
  }
  return resources;
}

function domainId(domains: readonly DomainOptions[], name: string): string {
  return numbered(
    "Domain",
    domains.findIndex((domain) => domain.name === name),
  );
}

/** Returns the name of the first, second, … of several resources or outputs: `Domain`, `Domain2`. */
export function numbered(id: string, index: number): string {
  return index === 0 ? id : `${id}${index + 1}`;
}

/**
 * Returns the outputs: the arguments of `registerGateway`, the URL, and the targets of DNS records.
 */
function outputs({
  stage,
  replies,
  domains,
  disableExecuteApiEndpoint,
}: GatewayDefinition): CloudFormationTemplate["Outputs"] {
  const [first] = domains;
  const customAddress = first && domainAddress(first);
  const host = `\${Api}.execute-api.\${AWS::Region}.\${AWS::URLSuffix}`;
  const endpoint = disableExecuteApiEndpoint && customAddress ? customAddress : `${host}/${stage}`;
  const names = [...new Set(domains.map(({ name }) => name))];
  return {
    ApiId: { Value: { Ref: "Api" }, Description: "apiId for registerGateway" },
    Endpoint: { Value: substituted(`https://${endpoint}`), Description: "endpoint for registerGateway" },
    Stage: { Value: { Ref: "Stage" }, Description: "stage for registerGateway" },
    Replies: { Value: replies, Description: "replies for registerGateway" },
    Url: {
      Value: substituted(`wss://${customAddress ?? endpoint}`),
      Description: "The URL that browsers connect to",
    },
    ...Object.fromEntries(
      names.flatMap((name, index) => {
        const domain = domainId(domains, name);
        const target = {
          Value: { "Fn::GetAtt": [domain, "RegionalDomainName"] },
          Description: `The target of the DNS record of ${name}`,
        };
        const zone = {
          Value: { "Fn::GetAtt": [domain, "RegionalHostedZoneId"] },
          Description: `The hosted zone of that target, for an alias record of ${name} in Route 53`,
        };
        return [
          [numbered("DnsTarget", index), target],
          [numbered("DnsTargetZone", index), zone],
        ];
      }),
    ),
  };
}

/** Returns `Fn::Sub` for a text with a variable. Without one, cfn-lint would report it as W1020. */
function substituted(text: string): object | string {
  return text.includes("${") ? { "Fn::Sub": text } : text;
}

/** Returns a logical id of letters and digits, which is different for each route key. */
function logicalName(key: string): string {
  const words = key
    .replace(/[^A-Za-z0-9]+/g, " ")
    .trim()
    .split(" ");
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  if (/^\$(connect|disconnect|default)$/.test(key)) return name;
  return `${name}${createHash("sha256").update(key).digest("hex").slice(0, 6)}`;
}
