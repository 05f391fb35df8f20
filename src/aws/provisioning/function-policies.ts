import type { LambdaClient } from "@aws-sdk/client-lambda";
import { ProvisioningError } from "../../errors.ts";
import { exportsOf, loadingFailure } from "../../optional-packages.ts";
import { rejectForeignAnswers } from "./foreign-answers.ts";

/** The action and the principal of the statements. */
const INVOKE = "lambda:InvokeFunction";
const API_GATEWAY = "apigateway.amazonaws.com";

/** Returns whether a statement allows API Gateway to invoke the function from a source ARN. */
export function permits(
  { Effect, Action, Principal, Condition }: PolicyStatement,
  sourceArn: string,
): boolean {
  const isInvocation = Effect === "Allow" && Action === INVOKE && Principal?.Service === API_GATEWAY;
  return isInvocation && Condition?.ArnLike?.["AWS:SourceArn"] === sourceArn;
}

/**
 * The options of both AWS clients. The types of the SDK are not used, because the client of Lambda
 * is an optional dependency.
 */
export interface ClientConfig {
  readonly region: string;
  readonly maxAttempts: number;
  readonly requestHandler: {
    readonly connectionTimeout: number;
    readonly requestTimeout: number;
    readonly throwOnRequestTimeout: boolean;
  };
  readonly endpoint?: string;
}

/** Performs a call, and retries it if that is safe. */
type Call = <Output>(name: string, isRead: boolean, send: () => Promise<Output>) => Promise<Output>;

/** The fields of a policy statement that are read here. */
export interface PolicyStatement {
  readonly Sid?: string;
  readonly Effect?: string;
  readonly Action?: unknown;
  readonly Principal?: { readonly Service?: unknown };
  readonly Condition?: { readonly ArnLike?: { readonly "AWS:SourceArn"?: string } };
}

async function loadSdk(): Promise<typeof import("@aws-sdk/client-lambda")> {
  try {
    return exportsOf(await import("@aws-sdk/client-lambda"));
  } catch (cause) {
    const name = "@aws-sdk/client-lambda";
    const needed = {
      name,
      neededBy: "A gateway that calls a function",
      install: `npm install --save-dev ${name}`,
    };
    throw new ProvisioningError(loadingFailure(needed, cause), { cause });
  }
}

/**
 * Reads and changes the policies of Lambda functions. The SDK is loaded only if a gateway has
 * functions.
 */
export class FunctionPolicies {
  readonly #sdk: typeof import("@aws-sdk/client-lambda");
  readonly #client: LambdaClient;
  readonly #call: Call;

  private constructor(sdk: typeof import("@aws-sdk/client-lambda"), client: LambdaClient, call: Call) {
    this.#sdk = sdk;
    this.#client = client;
    this.#call = call;
  }

  /** Creates a client. @throws ProvisioningError if the package of the SDK is not installed */
  static async open(config: ClientConfig, call: Call): Promise<FunctionPolicies> {
    const sdk = await loadSdk();
    const client = new sdk.LambdaClient(config);
    rejectForeignAnswers(client, config.region);
    return new FunctionPolicies(sdk, client, call);
  }

  /**
   * Returns the statements of a function's policy, or none if it has no policy.
   *
   * @throws ProvisioningError if AWS rejects the call or does not answer
   */
  async statements(lambda: string): Promise<readonly PolicyStatement[]> {
    const command = new this.#sdk.GetPolicyCommand({ FunctionName: lambda });
    try {
      const { Policy = "{}" } = await this.#call("GetPolicy", true, () => this.#client.send(command));
      return (JSON.parse(Policy) as { Statement?: PolicyStatement[] }).Statement ?? [];
    } catch (error) {
      // If the function does not exist, AWS rejects the permission later with its name.
      if (error instanceof ProvisioningError && error.awsStatus === 404) return [];
      throw error;
    }
  }

  /** Allows API Gateway to invoke a function from a source ARN. @throws ProvisioningError */
  async permit(lambda: string, statementId: string, sourceArn: string): Promise<void> {
    const command = new this.#sdk.AddPermissionCommand({
      FunctionName: lambda,
      StatementId: statementId,
      Action: INVOKE,
      Principal: API_GATEWAY,
      SourceArn: sourceArn,
    });
    await this.#call("AddPermission", false, () => this.#client.send(command));
  }

  /** Removes a statement from a function's policy. @throws ProvisioningError */
  async forbid(lambda: string, statementId: string): Promise<void> {
    const command = new this.#sdk.RemovePermissionCommand({ FunctionName: lambda, StatementId: statementId });
    await this.#call("RemovePermission", false, () => this.#client.send(command));
  }

  /** Closes the connections to AWS. */
  close(): void {
    this.#client.destroy();
  }
}
