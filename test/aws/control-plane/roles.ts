import type { Call } from "./operations.ts";
import { AwsError } from "./operations.ts";

const ACCOUNT = "123456789012";
/** The maximum number of roles in a page, so that a client that reads only the first one fails. */
const PAGE_SIZE = 2;

type Parameters = Readonly<Record<string, string>>;

interface Role {
  readonly path: string;
  readonly policies: Map<string, string>;
  readonly tags: Readonly<Record<string, string>>;
}

/** The operations of IAM on roles, and `GetCallerIdentity` of STS. The responses are XML. */
export class Roles {
  readonly #roles = new Map<string, Role>();

  /** Returns the names of all roles. */
  names(): readonly string[] {
    return [...this.#roles.keys()];
  }

  /** Returns the inline policies of a role. */
  policiesOf(name: string): readonly string[] {
    return [...(this.#roles.get(name)?.policies.values() ?? [])];
  }

  /** Returns the tags of a role. */
  tagsOf(name: string): Readonly<Record<string, string>> {
    return this.#roles.get(name)?.tags ?? {};
  }

  /** Returns the ARN of a role. */
  arnOf(name: string): string {
    return `arn:aws:iam::${ACCOUNT}:role${this.#roles.get(name)?.path ?? "/"}${name}`;
  }

  has(operation: string): boolean {
    return operation in OPERATIONS;
  }

  /** Performs an operation. Returns the XML of its result. */
  run(operation: string, input: Parameters): string {
    return (this[operation as keyof typeof OPERATIONS] as (input: Parameters) => string).call(this, input);
  }

  GetCallerIdentity(): string {
    return `<Arn>arn:aws:sts::${ACCOUNT}:assumed-role/deploy/ci</Arn><Account>${ACCOUNT}</Account>`;
  }

  CreateRole({ RoleName = "", Path = "/", AssumeRolePolicyDocument = "", ...rest }: Parameters): string {
    if (!/^[\w+=,.@-]{1,64}$/.test(RoleName)) throw new AwsError(400, "ValidationError", "Invalid RoleName");
    if (!/^\/([\x21-\x7e]+\/)?$/.test(Path)) throw new AwsError(400, "ValidationError", "Invalid Path");
    if (this.#roles.has(RoleName)) throw new AwsError(409, "EntityAlreadyExists", `Role ${RoleName} exists`);
    JSON.parse(AssumeRolePolicyDocument);
    const tags: Record<string, string> = {};
    for (let index = 1; rest[`Tags.member.${index}.Key`] !== undefined; index++)
      tags[rest[`Tags.member.${index}.Key`] ?? ""] = rest[`Tags.member.${index}.Value`] ?? "";
    this.#roles.set(RoleName, { path: Path, policies: new Map(), tags });
    return `<Role>${this.#describe(RoleName)}</Role>`;
  }

  PutRolePolicy({ RoleName, PolicyName = "", PolicyDocument = "" }: Parameters): string {
    JSON.parse(PolicyDocument);
    this.#role(RoleName).policies.set(PolicyName, PolicyDocument);
    return "";
  }

  DeleteRolePolicy({ RoleName, PolicyName = "" }: Parameters): string {
    if (!this.#role(RoleName).policies.delete(PolicyName)) throw noSuchEntity(`policy ${PolicyName}`);
    return "";
  }

  DeleteRole({ RoleName = "" }: Parameters): string {
    if (this.#role(RoleName).policies.size > 0)
      throw new AwsError(409, "DeleteConflict", "Cannot delete entity, must delete policies first.");
    this.#roles.delete(RoleName);
    return "";
  }

  ListRoles({ PathPrefix = "/", Marker = "0" }: Parameters): string {
    const names = this.names().filter((name) => this.#roles.get(name)?.path.startsWith(PathPrefix));
    const end = Number(Marker) + PAGE_SIZE;
    const page = names.slice(Number(Marker), end).map((name) => `<member>${this.#describe(name)}</member>`);
    const next = end < names.length ? `<IsTruncated>true</IsTruncated><Marker>${end}</Marker>` : "";
    return `<Roles>${page.join("")}</Roles>${next}`;
  }

  #describe(name: string): string {
    return `<RoleName>${name}</RoleName><Arn>${this.arnOf(name)}</Arn>`;
  }

  #role(name = ""): Role {
    const role = this.#roles.get(name);
    if (!role) throw noSuchEntity(`The role with name ${name} cannot be found.`);
    return role;
  }
}

const OPERATIONS = {
  GetCallerIdentity: true,
  CreateRole: true,
  PutRolePolicy: true,
  DeleteRolePolicy: true,
  DeleteRole: true,
  ListRoles: true,
};

function noSuchEntity(message: string): AwsError {
  return new AwsError(404, "NoSuchEntity", message);
}

/** Decodes a call of the Query protocol, which IAM and STS have. */
export function decodeQuery(body: string): Call {
  const { Action = "", Version: _, ...input } = Object.fromEntries(new URLSearchParams(body));
  if (!(Action in OPERATIONS)) throw new AwsError(400, "InvalidAction", `no operation is ${Action}`);
  return {
    operation: Action,
    input,
    status: 200,
    contentType: "text/xml",
    encode: (result) => `<${Action}Response><${Action}Result>${result}</${Action}Result></${Action}Response>`,
  };
}

/** Returns the body of an error of the Query protocol. */
export function queryError({ type, message }: AwsError): string {
  const text = message.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<ErrorResponse><Error><Code>${type}</Code><Message>${text}</Message></Error></ErrorResponse>`;
}
