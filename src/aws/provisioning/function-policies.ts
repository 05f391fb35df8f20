import type { LambdaClient } from "@aws-sdk/client-lambda";
import { ProvisioningError } from "../../errors.ts";
import { exportsOf, loadingFailure } from "../../optional-packages.ts";
import { rejectForeignAnswers } from "./foreign-answers.ts";

/** What API Gateway is permitted. */
const INVOKE = "lambda:InvokeFunction";
const API_GATEWAY = "apigateway.amazonaws.com";

/** Whether a statement lets API Gateway invoke its function for what an ARN names. */
export function permits(
  { Effect, Action, Principal, Condition }: PolicyStatement,
  sourceArn: string,
): boolean {
  const isInvocation = Effect === "Allow" && Action === INVOKE && Principal?.Service === API_GATEWAY;
  return isInvocation && Condition?.ArnLike?.["AWS:SourceArn"] === sourceArn;
}

/** How both of AWS's clients are made; not their own words for it, since not everybody has the one of functions. */
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

/** Makes a call, again where that is safe. */
type Call = <Output>(name: string, isRead: boolean, send: () => Promise<Output>) => Promise<Output>;

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

/** Who may invoke which function, at Lambda. Its SDK is loaded for those only whose gateways call functions. */
export class FunctionPolicies {
  readonly #sdk: typeof import("@aws-sdk/client-lambda");
  readonly #client: LambdaClient;
  readonly #call: Call;

  private constructor(sdk: typeof import("@aws-sdk/client-lambda"), client: LambdaClient, call: Call) {
    this.#sdk = sdk;
    this.#client = client;
    this.#call = call;
  }

  /** @throws ControlPlaneError where the SDK's package is not installed */
  static async open(config: ClientConfig, call: Call): Promise<FunctionPolicies> {
    const sdk = await loadSdk();
    const client = new sdk.LambdaClient(config);
    rejectForeignAnswers(client, config.region);
    return new FunctionPolicies(sdk, client, call);
  }

  /** What a function's policy says; nothing where it has none. @throws ControlPlaneError */
  async statements(lambda: string): Promise<readonly PolicyStatement[]> {
    const command = new this.#sdk.GetPolicyCommand({ FunctionName: lambda });
    try {
      const { Policy = "{}" } = await this.#call("GetPolicy", true, () => this.#client.send(command));
      return (JSON.parse(Policy) as { Statement?: PolicyStatement[] }).Statement ?? [];
    } catch (error) {
      // One that does not exist refuses the permission later on, by name.
      if (error instanceof ProvisioningError && error.awsStatus === 404) return [];
      throw error;
    }
  }

  /** Lets API Gateway invoke a function for what an ARN names. @throws ControlPlaneError */
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

  /** Takes a statement out of a function's policy. @throws ControlPlaneError */
  async forbid(lambda: string, statementId: string): Promise<void> {
    const command = new this.#sdk.RemovePermissionCommand({ FunctionName: lambda, StatementId: statementId });
    await this.#call("RemovePermission", false, () => this.#client.send(command));
  }

  close(): void {
    this.#client.destroy();
  }
}
