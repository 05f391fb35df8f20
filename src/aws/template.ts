import { createHash } from "node:crypto";
import { ConfigurationError } from "../errors.ts";
import { callsArn } from "./arns.ts";
import type { GatewayDefinition } from "./define-gateway.ts";
import type { DomainOptions } from "./definition-parts.ts";
import { domainAddress } from "./definition-parts.ts";
import { type DesiredRoute, desiredApi, needsSecret, SECRET_PARAMETER } from "./provisioning/desired.ts";
import { functionsOf } from "./targets.ts";

type Resource = {
  readonly Type: string;
  readonly Properties: object;
  readonly DependsOn?: readonly string[];
};

/** A template of CloudFormation, as JSON. */
export interface CloudFormationTemplate {
  readonly AWSTemplateFormatVersion: "2010-09-09";
  readonly Description: string;
  readonly Parameters?: Readonly<Record<string, object>>;
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs: Readonly<
    Record<string, { readonly Value: object | string; readonly Description: string }>
  >;
}

/** Of a template. Source: AWS CloudFormation user guide, quotas. */
const MAX_RESOURCES = 500;

/** Stands for the secret until the template knows it. */
const SECRET_REFERENCE = { "Fn::Sub": `'\${SallyportSecret}'` };

/**
 * The same gateway as a template, for teams that deploy by CloudFormation. The stage deploys each change by itself, as a template
 * has no way to say when. The app is told of the gateway by `registerGateway`, with what the stack puts out and the secret that it was given.
 *
 * @throws ConfigurationError for more resources than a template takes
 */
export function cloudFormationTemplate(definition: GatewayDefinition): CloudFormationTemplate {
  const { name, stage, region, throttling, accessLog } = definition;
  const hasSecret = needsSecret(definition);
  const { api, routes } = desiredApi(definition, hasSecret ? "secret" : undefined);
  // Without ours: what a stack has made is the stack's to change.
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
      `Gateway "${name}" takes ${count} resources, and a template of CloudFormation has ${MAX_RESOURCES} at most. Use fewer routes, or gateway apply.`,
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
              Description: "What proves the gateway's calls to the app, which is told it by registerGateway",
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

function numbered(id: string, index: number): string {
  return index === 0 ? id : `${id}${index + 1}`;
}

/** What `registerGateway` takes, and what DNS takes. */
function outputs({
  stage,
  replies,
  domains,
  disableExecuteApiEndpoint,
}: GatewayDefinition): CloudFormationTemplate["Outputs"] {
  const [first] = domains;
  const own = first && domainAddress(first);
  const host = `\${Api}.execute-api.\${AWS::Region}.\${AWS::URLSuffix}`;
  const endpoint = disableExecuteApiEndpoint && own ? own : `${host}/${stage}`;
  const names = [...new Set(domains.map(({ name }) => name))];
  return {
    ApiId: { Value: { Ref: "Api" }, Description: "apiId of registerGateway" },
    Endpoint: { Value: substituted(`https://${endpoint}`), Description: "endpoint of registerGateway" },
    Stage: { Value: { Ref: "Stage" }, Description: "stage of registerGateway" },
    Replies: { Value: replies, Description: "replies of registerGateway" },
    Url: { Value: substituted(`wss://${own ?? endpoint}`), Description: "Where browsers connect to" },
    ...Object.fromEntries(
      names.flatMap((name, index) => {
        const domain = domainId(domains, name);
        const target = {
          Value: { "Fn::GetAtt": [domain, "RegionalDomainName"] },
          Description: `What ${name} leads to in DNS`,
        };
        const zone = {
          Value: { "Fn::GetAtt": [domain, "RegionalHostedZoneId"] },
          Description: `The zone of that, which an alias of ${name} takes`,
        };
        return [
          [numbered("DnsTarget", index), target],
          [numbered("DnsTargetZone", index), zone],
        ];
      }),
    ),
  };
}

/** Fn::Sub for a text with a variable, and the text alone without one, which cfn-lint reports as W1020. */
function substituted(text: string): object | string {
  return text.includes("${") ? { "Fn::Sub": text } : text;
}

/** Letters and digits only, and different for different keys. */
function logicalName(key: string): string {
  const words = key
    .replace(/[^A-Za-z0-9]+/g, " ")
    .trim()
    .split(" ");
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  if (/^\$(connect|disconnect|default)$/.test(key)) return name;
  return `${name}${createHash("sha256").update(key).digest("hex").slice(0, 6)}`;
}
