import { gatewayArn, partitionOf } from "./arns.ts";
import type { GatewayDefinition } from "./definition.ts";
import { accountOf, functionsOf } from "./targets.ts";

/** A policy of IAM, as JSON. */
export interface PolicyDocument {
  readonly Version: "2012-10-17";
  readonly Statement: readonly {
    readonly Sid: string;
    readonly Effect: "Allow";
    readonly Action: readonly string[];
    readonly Resource: readonly string[];
    readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  }[];
}

export interface PolicyOptions {
  /** The account, 12 digits. Default: that of a function, certificate or log that the gateway names; else any (`*`). */
  readonly account?: string | undefined;
  /** AWS's id of the API, once there is one. Default: any (`*`), which the first `apply` needs. */
  readonly apiId?: string | undefined;
}

/**
 * The least that provisioning a gateway needs (`deploy`), and that the app which serves it needs (`runtime`).
 *
 * Source: AWS developer guide, "Amazon API Gateway actions", "ARN format reference", "Set up CloudWatch logging".
 */
export function gatewayPolicies(
  definition: GatewayDefinition,
  { account = accountIn(definition), apiId = "*" }: PolicyOptions = {},
): { readonly deploy: PolicyDocument; readonly runtime: PolicyDocument } {
  const { region, stage } = definition;
  const connections = (method: string) =>
    `arn:${partitionOf(region)}:execute-api:${region}:${account}:${apiId}/${stage}/${method}/@connections/*`;
  return {
    deploy: { Version: "2012-10-17", Statement: deployStatements(definition, apiId) },
    runtime: {
      Version: "2012-10-17",
      Statement: [
        {
          Sid: "SendAndClose",
          Effect: "Allow",
          Action: ["execute-api:ManageConnections"],
          Resource: [connections("POST"), connections("DELETE")],
        },
      ],
    },
  };
}

function deployStatements(
  { region, domain, accessLog, target, routes }: GatewayDefinition,
  apiId: string,
): PolicyDocument["Statement"] {
  const partition = partitionOf(region);
  const at = (path: string) => gatewayArn(region, path);
  const lambdas = functionsOf({ target, routes });
  const allow = (
    Sid: string,
    Action: readonly string[],
    Resource: readonly string[],
    Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>,
  ) => [{ Sid, Effect: "Allow" as const, Action, Resource, ...(Condition ? { Condition } : {}) }];
  return [
    allow("FindOrMakeTheApi", ["apigateway:GET", "apigateway:POST"], [at("apis")]),
    allow(
      "ChangeTheApi",
      ["apigateway:GET", "apigateway:POST", "apigateway:PATCH", "apigateway:DELETE"],
      [at(`apis/${apiId}`), at(`apis/${apiId}/*`)],
    ),
    allow("TagIt", ["apigateway:POST", "apigateway:PUT", "apigateway:DELETE"], [at("tags/*")]),
    allow("SeeDomains", ["apigateway:GET"], [at("domainnames"), at("domainnames/*")]),
    ...(domain
      ? [
          allow("MakeTheDomain", ["apigateway:POST"], [at("domainnames")]),
          allow(
            "ChangeTheDomain",
            ["apigateway:POST", "apigateway:PATCH", "apigateway:DELETE"],
            [at(`domainnames/${domain.name}`), at(`domainnames/${domain.name}/*`)],
          ),
          allow(
            "FirstDomainOfAnAccount",
            ["iam:CreateServiceLinkedRole"],
            [`arn:${partition}:iam::*:role/aws-service-role/ops.apigateway.amazonaws.com/*`],
            { StringLike: { "iam:AWSServiceName": "ops.apigateway.amazonaws.com" } },
          ),
        ]
      : []),
    ...(lambdas.length > 0
      ? [
          allow(
            "LetTheApiCallFunctions",
            ["lambda:GetPolicy", "lambda:AddPermission", "lambda:RemovePermission"],
            lambdas,
          ),
        ]
      : []),
    ...(accessLog
      ? [
          allow(
            "WriteTheAccessLog",
            [
              "logs:CreateLogDelivery",
              "logs:GetLogDelivery",
              "logs:UpdateLogDelivery",
              "logs:DeleteLogDelivery",
              "logs:ListLogDeliveries",
              "logs:PutResourcePolicy",
              "logs:DescribeResourcePolicies",
              "logs:DescribeLogGroups",
            ],
            ["*"],
          ),
        ]
      : []),
  ].flat();
}

function accountIn(definition: GatewayDefinition): string {
  const functions = functionsOf(definition).map((lambda) => accountOf({ lambda }));
  const { domain, accessLog } = definition;
  const arns = [domain?.certificateArn, accessLog?.destinationArn].flatMap((arn) => arn?.split(":")[4] ?? []);
  return [...functions, ...arns].find((account) => /^\d{12}$/.test(account)) ?? "*";
}
