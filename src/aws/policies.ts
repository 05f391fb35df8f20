import * as v from "valibot";
import { optionsOf, parseOptions, textOption } from "../options.ts";
import { partitionOf } from "../protocol/partitions.ts";
import type { GatewayDefinition } from "./define-gateway.ts";
import { gatewayArn } from "./names.ts";
import { accountOf, ownFunctionsOf } from "./targets.ts";

/** An IAM policy, as JSON. */
export interface PolicyDocument {
  readonly Version: "2012-10-17";
  readonly Statement: readonly AllowStatement[];
}

interface AllowStatement {
  readonly Sid: string;
  readonly Effect: "Allow";
  readonly Action: readonly string[];
  readonly Resource: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** The options of `gatewayPolicies`. */
export interface PolicyOptions {
  /**
   * The account in the ARNs, 12 digits, or `*` for any account. Default: the account of the
   * definition, or `*` if it has none.
   */
  readonly account?: string | undefined;
  /**
   * AWS's id of the API, or `*` for any API of the region. Default: none, for the first `apply`.
   * `deploy` then allows creating an API, but no changes and no removals.
   */
  readonly apiId?: string | undefined;
  /**
   * The resources that `apply` will remove: names of domains, and ARNs of functions and access
   * logs. Default: none. AWS then denies an `apply` that removes one of them.
   */
  readonly former?: readonly string[] | undefined;
}

/**
 * The service for which AWS creates a role, with the first domain or Firehose log of an account.
 */
const API_GATEWAY = "ops.apigateway.amazonaws.com";
/** Restricts statements to the permission of API Gateway to invoke functions. */
const INVOKER = { StringEquals: { "lambda:Principal": "apigateway.amazonaws.com" } };

const FORMER = "must be the name of a domain, or the ARN of a function or an access log";

const POLICY_OPTIONS = optionsOf<PolicyOptions>()({
  account: v.optional(textOption(/^(\d{12}|\*)$/, 'the 12 digits of an account, or "*"')),
  apiId: v.optional(textOption(/^([a-z0-9]+|\*)$/, 'the id of an API such as a1b2c3d4e5, or "*"')),
  former: v.optional(
    v.pipe(
      v.array(
        v.pipe(
          v.string(FORMER),
          v.check((name) => isDomain(name) || isFunction(name) || isLog(name), FORMER),
        ),
        "must be an array of names and ARNs",
      ),
      v.readonly(),
    ),
    [],
  ),
});

/**
 * Returns the minimal IAM policies for provisioning a gateway (`deploy`) and for the app that
 * serves it (`runtime`).
 *
 * Before the first `apply`, the id of the API is not known. `deploy` then allows adding routes,
 * stages, deployments and tags to any API of the region, but no changes and no removals. With an
 * id, it allows all of these operations with that API only.
 *
 * Source: AWS service authorization reference, "Amazon API Gateway Management V2". For what that
 * page does not cover: `docs/decisions/0017-iam-policies-for-provisioning.md`.
 *
 * @param definition the gateway, as returned by `defineGateway`
 * @param options account and id of the API, and resources to remove
 * @throws ConfigurationError for an invalid `account`, `apiId` or `former`
 */
export function gatewayPolicies(
  definition: GatewayDefinition,
  options: PolicyOptions = {},
): { readonly deploy: PolicyDocument; readonly runtime: PolicyDocument } {
  const { apiId, former, ...given } = parseOptions("gatewayPolicies()", POLICY_OPTIONS, options);
  const account = given.account ?? definition.account ?? "*";
  const statements = [
    ...apiStatements(definition, apiId),
    ...domainStatements(definition, apiId, former.filter(isDomain)),
    ...functionStatements(definition, apiId, former.filter(isFunction)),
    logStatement(definition, former.filter(isLog)),
    roleStatement(definition, account),
  ];
  const calls = connectionArns(definition, account, apiId ?? "*");
  return {
    deploy: policyOf(statements.filter(({ Resource }) => Resource.length > 0)),
    runtime: policyOf([allow("SendAndClose", [MANAGE_CONNECTIONS], calls)]),
  };
}

/** The IAM action of every call of the Management API. */
export const MANAGE_CONNECTIONS = "execute-api:ManageConnections";

/** Returns the ARNs of the Management API that the app calls: send, close and look up. */
export function connectionArns(
  { region, stage }: Pick<GatewayDefinition, "region" | "stage">,
  account: string,
  apiId: string,
): readonly string[] {
  return ["POST", "DELETE", "GET"].map(
    (method) =>
      `arn:${partitionOf(region)}:execute-api:${region}:${account}:${apiId}/${stage}/${method}/@connections/*`,
  );
}

function policyOf(Statement: readonly AllowStatement[]): PolicyDocument {
  return { Version: "2012-10-17", Statement };
}

function isDomain(name: string): boolean {
  return /^[a-z0-9.-]+$/i.test(name);
}

function isFunction(name: string): boolean {
  return accountOf({ lambda: name }) !== "";
}

function isLog(name: string): boolean {
  return /^arn:aws[a-z-]*:(logs|firehose):[^*?]+$/.test(name);
}

/** Returns a statement. The policy omits it if it has no resource. */
function allow(
  Sid: string,
  Action: readonly string[],
  Resource: readonly string[],
  Condition?: AllowStatement["Condition"],
): AllowStatement {
  return { Sid, Effect: "Allow", Action, Resource, ...(Condition ? { Condition } : {}) };
}

function apiStatements({ region, stage }: GatewayDefinition, apiId: string | undefined): AllowStatement[] {
  const api = gatewayArn(region, `apis/${apiId ?? "*"}`);
  const isAny = apiId === undefined || apiId === "*";
  const apiAndParts = isAny ? [api] : [api, `${api}/*`];
  const tags = isAny
    ? tagsOf(region, "apis/*")
    : ["", `/stages/${stage}`].flatMap((rest) => tagsOf(region, `apis/${apiId}${rest}`));
  const parts = ["integrations", "routes", "routes/*/routeresponses", "stages", "deployments"];
  return [
    allow("FindTheApi", ["apigateway:GET"], [gatewayArn(region, "apis"), ...apiAndParts]),
    allow("MakeTheApi", ["apigateway:POST"], isAny ? [gatewayArn(region, "apis")] : []),
    allow(
      "FillTheApi",
      ["apigateway:POST"],
      parts.map((part) => `${api}/${part}`),
    ),
    // AWS does not list this action, so its editors warn. A stage with tags cannot be created
    // without it.
    allow("MakeAStageWithTags", ["apigateway:TagResource"], [`${api}/stages`]),
    ...(apiId === undefined
      ? [allow("TagNewResources", ["apigateway:POST", "apigateway:PUT"], tags)]
      : [
          allow("ChangeTheApi", ["apigateway:PATCH", "apigateway:DELETE"], apiAndParts),
          allow("TagTheApi", ["apigateway:POST", "apigateway:PUT", "apigateway:DELETE"], tags),
        ]),
  ];
}

function domainStatements(
  { region, domains }: GatewayDefinition,
  apiId: string | undefined,
  former: readonly string[],
): AllowStatement[] {
  const at = (path: string) => gatewayArn(region, path);
  const names = [...new Set(domains.map(({ name }) => name))];
  const removed = former.filter((name) => !names.includes(name));
  const paths = names.map((name) => `domainnames/${name}`);
  const mappings = paths.map((path) => at(`${path}/apimappings`));
  const tags = paths.flatMap((path) => tagsOf(region, path));
  const changed = paths.flatMap((path) => [at(path), at(`${path}/apimappings/*`)]);
  return [
    allow("SeeDomains", ["apigateway:GET"], [at("domainnames"), at("domainnames/*/apimappings")]),
    allow("MakeTheDomain", ["apigateway:POST"], names.length > 0 ? [at("domainnames"), ...mappings] : []),
    allow("TagTheDomain", ["apigateway:POST", "apigateway:PUT"], tags),
    allow("ChangeTheDomain", ["apigateway:PATCH", "apigateway:DELETE"], apiId === undefined ? [] : changed),
    allow(
      "LeaveFormerDomains",
      ["apigateway:DELETE"],
      removed.flatMap((name) => [at(`domainnames/${name}`), at(`domainnames/${name}/apimappings/*`)]),
    ),
  ];
}

function functionStatements(
  definition: GatewayDefinition,
  apiId: string | undefined,
  former: readonly string[],
): AllowStatement[] {
  const lambdas = ownFunctionsOf(definition);
  const all = [...new Set([...lambdas, ...former])];
  return [
    allow("ReadFunctionPolicies", ["lambda:GetPolicy"], all),
    allow("AddInvokePermissions", ["lambda:AddPermission"], lambdas, INVOKER),
    allow(
      "RemoveInvokePermissions",
      ["lambda:RemovePermission"],
      apiId === undefined ? former : all,
      INVOKER,
    ),
  ];
}

function logStatement({ accessLog }: GatewayDefinition, former: readonly string[]): AllowStatement {
  // A Firehose stream needs no permission for CloudWatch Logs.
  const isNeeded = [accessLog?.destinationArn ?? "", ...former].some((arn) => serviceOf(arn) === "logs");
  return allow(
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
    isNeeded ? ["*"] : [],
  );
}

function roleStatement({ region, domains, accessLog }: GatewayDefinition, account: string): AllowStatement {
  const isNeeded = domains.length > 0 || serviceOf(accessLog?.destinationArn ?? "") === "firehose";
  const roles = `arn:${partitionOf(region)}:iam::${account}:role/aws-service-role/${API_GATEWAY}`;
  return allow(
    "CreateTheServiceLinkedRole",
    ["iam:CreateServiceLinkedRole"],
    isNeeded ? [`${roles}/AWSServiceRoleForAPIGateway`] : [],
    { StringEquals: { "iam:AWSServiceName": API_GATEWAY } },
  );
}

function serviceOf(arn: string): string | undefined {
  return arn.split(":")[2];
}

/**
 * Returns the resources of tag operations: ARNs that contain an ARN, which AWS writes with and
 * without /v2.
 */
function tagsOf(region: string, path: string): readonly string[] {
  return [path, `v2/${path}`].map((each) =>
    gatewayArn(region, `tags/${encodeURIComponent(gatewayArn(region, each))}`),
  );
}
