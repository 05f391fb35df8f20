import { AwsError } from "./operations.ts";

interface Statement {
  readonly Sid: string;
  readonly Effect: "Allow";
  readonly Principal: { readonly Service: string } | "*";
  readonly Action: string;
  readonly Resource: string;
  readonly Condition?: { readonly ArnLike: { readonly "AWS:SourceArn": string } };
}

/** The account of the caller, which owns the functions. */
export const ACCOUNT = "123456789012";

/** The permissions to invoke functions, as Lambda stores them. */
export class Functions {
  readonly #policies = new Map<string, Map<string, Statement>>();

  /** A reference to a function. */
  add(arn: string): void {
    this.#policies.set(arn, new Map());
  }

  /** Returns the ids of the statements in a function's policy. */
  permissions(arn: string): readonly string[] {
    return [...(this.#policies.get(arn)?.keys() ?? [])];
  }

  /** Returns whether an API is allowed to invoke a function for a route. */
  allows(arn: string, sourceArn: string): boolean {
    return [...(this.#policies.get(arn)?.values() ?? [])].some(({ Principal, Condition }) => {
      if (Principal === "*") return false;
      const pattern = Condition?.ArnLike["AWS:SourceArn"] ?? "*";
      const expression = pattern.split("*").map((part) => part.replace(/[.$+?()[\]{}|\\^]/g, "\\$&"));
      return new RegExp(`^${expression.join(".*")}$`).test(sourceArn);
    });
  }

  AddPermission(input: Readonly<Record<string, string>>): { Statement: string } {
    const policy = this.#policy(input);
    const { FunctionName = "", Qualifier, StatementId = "", Action = "", Principal = "", SourceArn } = input;
    if (!/^[A-Za-z0-9-_]{1,100}$/.test(StatementId))
      throw new AwsError(
        400,
        "ValidationException",
        `StatementId ${StatementId} failed to satisfy constraint`,
      );
    if (policy.has(StatementId))
      throw new AwsError(
        409,
        "ResourceConflictException",
        `The statement id (${StatementId}) provided already exists.`,
      );
    const statement: Statement = {
      Sid: StatementId,
      Effect: "Allow",
      Principal: Principal === "*" ? Principal : { Service: Principal },
      Action,
      Resource: Qualifier === undefined ? FunctionName : `${FunctionName}:${Qualifier}`,
      ...(SourceArn === undefined ? {} : { Condition: { ArnLike: { "AWS:SourceArn": SourceArn } } }),
    };
    policy.set(StatementId, statement);
    return { Statement: JSON.stringify(statement) };
  }

  GetPolicy(input: Readonly<Record<string, string>>): { Policy: string } {
    const policy = this.#policy(input);
    if (policy.size === 0) throw missing("No policy is associated with the given resource.");
    return {
      Policy: JSON.stringify({ Version: "2012-10-17", Id: "default", Statement: [...policy.values()] }),
    };
  }

  RemovePermission(input: Readonly<Record<string, string>>): void {
    const policy = this.#policy(input);
    if (!policy.delete(input.StatementId ?? ""))
      throw missing(`Statement ${input.StatementId} is not found.`);
  }

  #policy({ FunctionName = "", Qualifier }: Readonly<Record<string, string>>): Map<string, Statement> {
    if (Qualifier === "$LATEST" || FunctionName.endsWith(":$LATEST"))
      throw new AwsError(
        400,
        "InvalidParameterValueException",
        "We currently do not support adding policies for $LATEST.",
      );
    const [, , , , account = ACCOUNT] = FunctionName.split(":");
    if (account !== ACCOUNT)
      throw new AwsError(403, "AccessDeniedException", `No resource-based policy allows ${FunctionName}`);
    const name = FunctionName.includes(":")
      ? FunctionName
      : [...this.#policies.keys()].find((each) => each.endsWith(`:function:${FunctionName}`));
    const arn = Qualifier === undefined ? (name ?? FunctionName) : `${name}:${Qualifier}`;
    const policy = this.#policies.get(arn);
    if (!policy) throw missing(`Function not found: ${arn}`);
    return policy;
  }
}

function missing(message: string): AwsError {
  return new AwsError(404, "ResourceNotFoundException", message);
}
