import type { PolicyDocument } from "../../../src/aws/policies.ts";
import type { Apis } from "./apis.ts";
import { ACCOUNT, type Functions } from "./functions.ts";
import { AwsError } from "./operations.ts";
import type { Roles } from "./roles.ts";

/** A permission that IAM checks for a call. */
export interface Demand {
  readonly action: string;
  /** An ARN, or `*` for actions without resources. */
  readonly resource: string;
  /** Context keys for conditions. Default: none. */
  readonly context?: Readonly<Record<string, string>>;
}

/** A call: its operation, input and HTTP request. */
export interface Arrived {
  readonly operation: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly method: string;
  readonly path: string;
}

const CALLER = "arn:aws:sts::123456789012:assumed-role/deploy/ci";
const SERVICE = "ops.apigateway.amazonaws.com";
const SERVICE_ROLE = `arn:aws:iam::123456789012:role/aws-service-role/${SERVICE}/AWSServiceRoleForAPIGateway`;
/**
 * Source: AWS developer guide, "Configure logging for HTTP APIs". It does not mention WebSocket
 * APIs, so the same permissions are required.
 */
const LOG_DELIVERY = [
  "logs:CreateLogDelivery",
  "logs:GetLogDelivery",
  "logs:UpdateLogDelivery",
  "logs:DeleteLogDelivery",
  "logs:ListLogDeliveries",
  "logs:PutResourcePolicy",
  "logs:DescribeResourcePolicies",
  "logs:DescribeLogGroups",
];

/**
 * The permissions that AWS checks for calls to its control planes: the HTTP method on the path, and
 * more for some operations. The documents of AWS are incomplete. Where observations differ, both
 * permissions are required.
 *
 * For sources and open questions, see `docs/decisions/0017-iam-policies-for-provisioning.md`.
 */
export class Iam {
  /** The policy of the caller. Default: everything is allowed. */
  policy: PolicyDocument | undefined;
  /** All permissions that were checked and allowed. */
  readonly asked: Demand[] = [];
  readonly #region: string;
  readonly #apis: Apis;
  readonly #functions: Functions;
  readonly #roles: Roles;
  #hasServiceRole = false;

  constructor(region: string, apis: Apis, functions: Functions, roles: Roles) {
    this.#roles = roles;
    this.#region = region;
    this.#apis = apis;
    this.#functions = functions;
  }

  /** @throws AwsError if the policy does not allow a call */
  authorize(call: Arrived): void {
    if (!this.policy) return;
    for (const demand of this.#demands(call)) {
      const { action, resource } = demand;
      if (!allows(this.policy, demand)) {
        const words = `User: ${CALLER} is not authorized to perform: ${action} on resource: ${resource} because no identity-based policy allows the ${action} action`;
        throw action.startsWith("logs:")
          ? new AwsError(400, "BadRequestException", `Insufficient permissions to enable logging. ${words}`)
          : new AwsError(403, "AccessDeniedException", words);
      }
      this.asked.push(demand);
      if (resource === SERVICE_ROLE) this.#hasServiceRole = true;
    }
  }

  #demands({ operation, input, method, path }: Arrived): readonly Demand[] {
    if (path === "/") return this.#onRole(operation, input as Readonly<Record<string, string>>);
    if (!path.startsWith("/v2/"))
      return this.#onFunction(operation, input as Readonly<Record<string, string>>);
    // Segments are not encoded, except for the ARN in a path of tags.
    const named = path.startsWith("/v2/tags/") ? path : decodeURIComponent(path);
    const own = { action: `apigateway:${method}`, resource: this.#arn(named.slice("/v2/".length)) };
    return [own, ...this.#besides(operation, input as Readonly<Record<string, never>>)];
  }

  /** Returns the permissions of an operation in addition to its method and path. */
  #besides(
    operation: string,
    input: {
      readonly ApiId?: string;
      readonly StageName?: string;
      readonly DomainName?: string;
      readonly ResourceArn?: string;
      readonly Tags?: object;
      readonly AccessLogSettings?: { readonly DestinationArn?: string };
    },
  ): readonly Demand[] {
    const { ApiId = "", StageName = "", DomainName = "", ResourceArn = "" } = input;
    const made = (path: string) => (input.Tags ? this.#tags(["POST", "PUT"], path) : []);
    switch (operation) {
      case "CreateApi":
        return made("apis/*");
      case "CreateStage": {
        const resource = this.#arn(`apis/${ApiId}/stages`);
        const tag = input.Tags ? [{ action: "apigateway:TagResource", resource }] : [];
        return [...tag, ...made(`apis/${ApiId}/stages/${StageName}`), ...this.#log(input.AccessLogSettings)];
      }
      case "UpdateStage":
      case "DeleteAccessLogSettings":
        return this.#log(
          input.AccessLogSettings ?? this.#apis.GetStage({ ApiId, StageName }).AccessLogSettings,
        );
      case "CreateDomainName":
        return [...made(`domainnames/${DomainName}`), ...this.#serviceRole()];
      case "TagResource":
      case "UntagResource": {
        const verb = operation === "TagResource" ? "POST" : "DELETE";
        const path = ResourceArn.replace(/^.*::\//, "");
        return [...this.#tags([verb], path), { action: "apigateway:PATCH", resource: ResourceArn }];
      }
      default:
        return [];
    }
  }

  /** Returns the access log of a stage in a call or in the control plane. */
  #log({ DestinationArn = "" }: { readonly DestinationArn?: string | undefined } = {}): readonly Demand[] {
    if (DestinationArn.split(":")[2] === "firehose") return this.#serviceRole();
    return DestinationArn === "" ? [] : LOG_DELIVERY.map((action) => ({ action, resource: "*" }));
  }

  #serviceRole(): readonly Demand[] {
    if (this.#hasServiceRole) return [];
    const context = { "iam:AWSServiceName": SERVICE };
    return [{ action: "iam:CreateServiceLinkedRole", resource: SERVICE_ROLE, context }];
  }

  /**
   * Returns the permissions of a call of IAM. `GetCallerIdentity` needs none. Source: AWS service
   * authorization reference, "AWS Identity and Access Management".
   */
  #onRole(
    operation: string,
    { Path = "/", RoleName = "", ...rest }: Readonly<Record<string, string>>,
  ): Demand[] {
    if (operation === "GetCallerIdentity") return [];
    if (operation === "ListRoles") return [{ action: "iam:ListRoles", resource: "*" }];
    const created = `arn:aws:iam::${ACCOUNT}:role${Path}${RoleName}`;
    const resource = operation === "CreateRole" ? created : this.#roles.arnOf(RoleName);
    const actions = "Tags.member.1.Key" in rest ? [operation, "TagRole"] : [operation];
    return actions.map((action) => ({ action: `iam:${action}`, resource }));
  }

  /** Returns the permissions of a call of Lambda. */
  #onFunction(operation: string, input: Readonly<Record<string, string>>): readonly Demand[] {
    const { FunctionName: name = "", Role = "" } = input;
    if (operation === "ListFunctions") return [{ action: "lambda:ListFunctions", resource: "*" }];
    const arn = name.includes(":") ? name : `arn:aws:lambda:${this.#region}:${ACCOUNT}:function:${name}`;
    const on = (action: string): Demand => ({ action: `lambda:${action}`, resource: arn });
    if (operation === "Invoke") return [on("InvokeFunction")];
    if (operation === "CreateFunction")
      return [on("CreateFunction"), on("TagResource"), { action: "iam:PassRole", resource: Role }];
    return [this.#onPolicy(operation, { ...input, FunctionName: arn })];
  }

  #onPolicy(operation: string, input: Readonly<Record<string, string>>): Demand {
    const { FunctionName = "", Qualifier, StatementId, Principal } = input;
    const resource = Qualifier === undefined ? FunctionName : `${FunctionName}:${Qualifier}`;
    const principal = operation === "RemovePermission" ? this.#principal(input, StatementId) : Principal;
    const action = `lambda:${operation}`;
    return {
      action,
      resource,
      ...(principal === undefined ? {} : { context: { "lambda:Principal": principal } }),
    };
  }

  #principal(input: Readonly<Record<string, string>>, sid: string | undefined): string | undefined {
    const { Policy } = this.#functions.GetPolicy(input);
    const { Statement } = JSON.parse(Policy) as {
      readonly Statement: readonly {
        readonly Sid: string;
        readonly Principal: { readonly Service: string };
      }[];
    };
    return Statement.find(({ Sid }) => Sid === sid)?.Principal.Service;
  }

  #tags(verbs: readonly string[], path: string): readonly Demand[] {
    const arns = [path, `v2/${path}`].map((each) => encodeURIComponent(this.#arn(each)));
    return verbs.flatMap((verb) =>
      arns.map((arn) => ({ action: `apigateway:${verb}`, resource: this.#arn(`tags/${arn}`) })),
    );
  }

  #arn(path: string): string {
    return `arn:aws:apigateway:${this.#region}::/${path}`;
  }
}

/**
 * Evaluates a policy of allow statements as IAM does.
 *
 * @throws Error if a condition is not implemented here
 */
export function allows({ Statement }: PolicyDocument, { action, resource, context = {} }: Demand): boolean {
  return Statement.some(
    ({ Action, Resource, Condition = {} }) =>
      Action.some((pattern) => isLike(pattern.toLowerCase(), action.toLowerCase())) &&
      Resource.some((pattern) => isArnLike(pattern, resource)) &&
      Object.entries(Condition).every(([operator, keys]) => isMet(operator, keys, context)),
  );
}

/** A key that the context does not have fulfills no condition. */
function isMet(
  operator: string,
  keys: Readonly<Record<string, string>>,
  context: Readonly<Record<string, string>>,
): boolean {
  if (operator !== "StringEquals") throw new Error(`The condition ${operator} is not implemented here`);
  return Object.entries(keys).every(([key, value]) => context[key] === value);
}

/**
 * Compares the six parts of an ARN separately. A star matches any text within its part, slashes
 * included.
 */
function isArnLike(pattern: string, arn: string): boolean {
  if (pattern === "*") return true;
  const parts = partsOf(arn);
  return partsOf(pattern).every((part, index) => isLike(part, parts[index] ?? ""));
}

function partsOf(arn: string): readonly string[] {
  const parts = arn.split(":");
  return [...parts.slice(0, 5), parts.slice(5).join(":")];
}

function isLike(pattern: string, text: string): boolean {
  const expression = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${expression}$`, "s").test(text);
}
