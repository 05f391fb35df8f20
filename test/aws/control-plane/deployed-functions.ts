import type * as Aws from "@aws-sdk/client-lambda";
import { AwsError } from "./operations.ts";

/** A function that was deployed from an archive. */
export interface Deployed {
  readonly name: string;
  readonly arn: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
  /** The ZIP archive. */
  readonly code: Buffer;
  concurrency?: number;
  url?: string;
}

/** How functions run and which URLs they have. */
export interface FunctionHost {
  /** Starts a function. */
  start(deployed: Deployed): Promise<void>;
  /** Invokes a function with JSON, and returns the JSON of its result or error. */
  invoke(name: string, payload: string): Promise<{ readonly payload: string; readonly hasFailed: boolean }>;
  stop(name: string): void;
  readonly url: string;
}

/** Number of reads for which a new function is pending. */
const PENDING_READS = 1;
/** The maximum number of functions in a page, so that a client that reads only the first one fails. */
const PAGE_SIZE = 2;

/** The operations of Lambda on functions. */
export class DeployedFunctions {
  /** Runs the functions. Without it, a created function cannot be invoked. */
  host: FunctionHost | undefined;
  /** The number of times that a new role cannot be assumed. */
  roleRejections = 0;
  /** The message with which a reservation of instances is rejected. Default: it is accepted. */
  concurrencyRejection: string | undefined;
  readonly #region: string;
  readonly #account: string;
  readonly #functions = new Map<string, Deployed & { reads: number }>();

  constructor(region: string, account: string) {
    this.#region = region;
    this.#account = account;
  }

  all(): readonly Deployed[] {
    return [...this.#functions.values()];
  }

  has(operation: string): boolean {
    return /^[A-Z]/.test(operation) && operation in this;
  }

  run(operation: string, input: unknown): unknown {
    return (this as unknown as Record<string, (input: unknown) => unknown>)[operation]?.(input);
  }

  async CreateFunction(input: Aws.CreateFunctionRequest): Promise<object> {
    const { FunctionName: name = "", Role = "", Code, Environment, Tags = {} } = input;
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) throw invalid("FunctionName");
    if (!/^arn:aws:iam::\d{12}:role\/.+$/.test(Role)) throw invalid("Role");
    if (this.#functions.has(name))
      throw new AwsError(409, "ResourceConflictException", `Function already exist: ${name}`);
    if (this.roleRejections > 0) {
      this.roleRejections--;
      throw invalid("The role defined for the function cannot be assumed by Lambda.");
    }
    const arn = `arn:aws:lambda:${this.#region}:${this.#account}:function:${name}`;
    const code = Buffer.from(String(Code?.ZipFile ?? ""), "base64");
    const deployed = { name, arn, code, variables: Environment?.Variables ?? {}, tags: Tags, reads: 0 };
    await this.host?.start(deployed);
    this.#functions.set(name, deployed);
    return { FunctionName: name, FunctionArn: arn, State: "Pending" };
  }

  GetFunctionConfiguration({ FunctionName }: Aws.GetFunctionConfigurationRequest): object {
    const found = this.#find(FunctionName);
    const State = found.reads++ < PENDING_READS ? "Pending" : "Active";
    return { FunctionName: found.name, FunctionArn: found.arn, State };
  }

  ListFunctions({ Marker = "0" }: Aws.ListFunctionsRequest): object {
    const all = this.all();
    const end = Number(Marker) + PAGE_SIZE;
    const Functions = all.slice(Number(Marker), end).map(({ name }) => ({ FunctionName: name }));
    return { Functions, ...(end < all.length ? { NextMarker: String(end) } : {}) };
  }

  DeleteFunction({ FunctionName }: Aws.DeleteFunctionRequest): void {
    const { name } = this.#find(FunctionName);
    this.host?.stop(name);
    this.#functions.delete(name);
  }

  PutFunctionConcurrency({
    FunctionName,
    ReservedConcurrentExecutions,
  }: Aws.PutFunctionConcurrencyRequest): object {
    if (this.concurrencyRejection !== undefined) throw invalid(this.concurrencyRejection);
    this.#find(FunctionName).concurrency = ReservedConcurrentExecutions ?? 0;
    return { ReservedConcurrentExecutions };
  }

  CreateFunctionUrlConfig({ FunctionName, AuthType }: Aws.CreateFunctionUrlConfigRequest): object {
    const found = this.#find(FunctionName);
    found.url = `${this.host?.url}/`;
    return { FunctionUrl: found.url, FunctionArn: found.arn, AuthType };
  }

  async Invoke({ FunctionName, Payload }: Aws.InvocationRequest): Promise<object> {
    const { name } = this.#find(FunctionName);
    if (!this.host) throw new AwsError(500, "ServiceException", "The control plane runs no functions");
    const { payload, hasFailed } = await this.host.invoke(name, String(Payload ?? "null"));
    return { Payload: payload, ...(hasFailed ? { FunctionError: "Unhandled" } : {}) };
  }

  #find(given = ""): Deployed & { reads: number } {
    const found = this.#functions.get(given.split(":")[6] ?? given);
    if (found) return found;
    throw new AwsError(404, "ResourceNotFoundException", `Function not found: ${given}`);
  }
}

function invalid(message: string): AwsError {
  return new AwsError(400, "InvalidParameterValueException", message);
}
