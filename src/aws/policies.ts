import * as v from "valibot";
import { optionsOf, parseOptions, textOption } from "../options.ts";
import { partitionOf } from "../protocol/partitions.ts";
import { gatewayArn } from "./arns.ts";
import type { GatewayDefinition } from "./define-gateway.ts";
import { accountOf, ownFunctionsOf } from "./targets.ts";

/** A policy of IAM, as JSON. */
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

export interface PolicyOptions {
  /** The account that the API is in, 12 digits. Default: what the definition says or names; else any (`*`). */
  readonly account?: string | undefined;
  /**
   * AWS's id of the API, or `*` for any of the region. Default: there is none yet, and `deploy` is what the first `apply` needs, which
   * makes one and neither changes nor removes anything.
   */
  readonly apiId?: string | undefined;
  /**
   * What the gateway had and `apply` is to take away: names of domains, ARNs of functions and of access logs. Default: nothing, so that
   * `apply` is refused where the definition names less than AWS has.
   */
  readonly former?: readonly string[] | undefined;
}

/** Whose role API Gateway makes in an account for its first domain, and the first stream that it logs to. */
const API_GATEWAY = "ops.apigateway.amazonaws.com";
/** Who invokes functions. */
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
 * The least that provisioning a gateway needs (`deploy`), and that the app which serves it needs (`runtime`).
 *
 * Before the first `apply` nobody knows the API's id: `deploy` may then add routes, stages, deployments and tags to any API of the region,
 * and change or remove nothing. With the id it may do all that, and change and remove, with that one alone.
 *
 * Source: AWS service authorization reference, "Amazon API Gateway Management V2"; where that is silent, `docs/decisions/0017-what-aws-asks-of-who-deploys.md`.
 *
 * @throws ConfigurationError for an `account`, an `apiId` or a `former` that is none
 */
export function gatewayPolicies(
  definition: GatewayDefinition,
  options: PolicyOptions = {},
): { readonly deploy: PolicyDocument; readonly runtime: PolicyDocument } {
  const { region, stage } = definition;
  const { apiId, former, ...given } = parseOptions("gatewayPolicies()", POLICY_OPTIONS, options);
  const account = given.account ?? definition.account ?? "*";
  const connections = (method: string) =>
    `arn:${partitionOf(region)}:execute-api:${region}:${account}:${apiId ?? "*"}/${stage}/${method}/@connections/*`;
  const statements = [
    ...apiStatements(definition, apiId),
    ...domainStatements(definition, apiId, former.filter(isDomain)),
    ...functionStatements(definition, apiId, former.filter(isFunction)),
    logStatement(definition, former.filter(isLog)),
    roleStatement(definition, account),
  ];
  const calls = [connections("POST"), connections("DELETE"), connections("GET")];
  return {
    deploy: policyOf(statements.filter(({ Resource }) => Resource.length > 0)),
    runtime: policyOf([allow("SendAndClose", ["execute-api:ManageConnections"], calls)]),
  };
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

/** A statement; of no resource, it is left out. */
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
  const whole = isAny ? [api] : [api, `${api}/*`];
  const tags = isAny
    ? tagsOf(region, "apis/*")
    : ["", `/stages/${stage}`].flatMap((rest) => tagsOf(region, `apis/${apiId}${rest}`));
  const parts = ["integrations", "routes", "routes/*/routeresponses", "stages", "deployments"];
  return [
    allow("FindTheApi", ["apigateway:GET"], [gatewayArn(region, "apis"), ...whole]),
    allow("MakeTheApi", ["apigateway:POST"], isAny ? [gatewayArn(region, "apis")] : []),
    allow(
      "FillTheApi",
      ["apigateway:POST"],
      parts.map((part) => `${api}/${part}`),
    ),
    // No action that AWS lists: an editor warns of it, and a stage with tags is not made without it.
    allow("MakeAStageWithTags", ["apigateway:TagResource"], [`${api}/stages`]),
    ...(apiId === undefined
      ? [allow("TagWhatIsMade", ["apigateway:POST", "apigateway:PUT"], tags)]
      : [
          allow("ChangeTheApi", ["apigateway:PATCH", "apigateway:DELETE"], whole),
          allow("TagIt", ["apigateway:POST", "apigateway:PUT", "apigateway:DELETE"], tags),
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
  const left = former.filter((name) => !names.includes(name));
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
      left.flatMap((name) => [at(`domainnames/${name}`), at(`domainnames/${name}/apimappings/*`)]),
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
    allow("SeeWhoMayCallFunctions", ["lambda:GetPolicy"], all),
    allow("LetTheApiCallFunctions", ["lambda:AddPermission"], lambdas, INVOKER),
    allow("LetItCallThemNoMore", ["lambda:RemovePermission"], apiId === undefined ? former : all, INVOKER),
  ];
}

function logStatement({ accessLog }: GatewayDefinition, former: readonly string[]): AllowStatement {
  // A Firehose stream needs nothing of CloudWatch Logs.
  const isKept = [accessLog?.destinationArn ?? "", ...former].some((arn) => serviceOf(arn) === "logs");
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
    isKept ? ["*"] : [],
  );
}

function roleStatement({ region, domains, accessLog }: GatewayDefinition, account: string): AllowStatement {
  const isNeeded = domains.length > 0 || serviceOf(accessLog?.destinationArn ?? "") === "firehose";
  const roles = `arn:${partitionOf(region)}:iam::${account}:role/aws-service-role/${API_GATEWAY}`;
  return allow(
    "MakeTheRoleOfApiGateway",
    ["iam:CreateServiceLinkedRole"],
    isNeeded ? [`${roles}/AWSServiceRoleForAPIGateway`] : [],
    { StringEquals: { "iam:AWSServiceName": API_GATEWAY } },
  );
}

function serviceOf(arn: string): string | undefined {
  return arn.split(":")[2];
}

/** What tags are authorized as: an ARN within an ARN, which AWS spells with /v2 and without. */
function tagsOf(region: string, path: string): readonly string[] {
  return [path, `v2/${path}`].map((each) =>
    gatewayArn(region, `tags/${encodeURIComponent(gatewayArn(region, each))}`),
  );
}
