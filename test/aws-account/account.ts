import { ApiGatewayV2Client, DeleteApiCommand, GetApisCommand } from "@aws-sdk/client-apigatewayv2";
import {
  AddPermissionCommand,
  CreateFunctionCommand,
  CreateFunctionUrlConfigCommand,
  DeleteFunctionCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  LambdaClient,
  ListFunctionsCommand,
  PutFunctionConcurrencyCommand,
} from "@aws-sdk/client-lambda";
import { environmentCredentials } from "../../src/delivery/credentials.ts";
import type { Command, CommandResult } from "./function/commands.ts";
import { httpNameOf, nameOf, PREFIX, ROLE_PATH, TAG } from "./names.ts";
import { AwsQueryError, QueryApi, valuesOf } from "./query-api.ts";
import { poll } from "./timing.ts";

/** Time in which a new role can be used by Lambda, in milliseconds. AWS documents no limit. */
const ROLE_MS = 60_000;
const FUNCTION_MS = 120_000;
const POLICY_NAME = "sallyport-smoke";
const FUNCTION_TIMEOUT_SECONDS = 60;
const ATTEMPTS = 8;

/** The resources that a run creates, in the account and region of the caller. */
export class Account {
  readonly region: string;
  readonly #query: QueryApi;
  readonly #lambda: LambdaClient;
  readonly #gateways: ApiGatewayV2Client;

  constructor(region: string) {
    this.region = region;
    this.#query = new QueryApi(region, environmentCredentials);
    // An account has low rates for changes, and the only instance of the function can be busy.
    this.#lambda = new LambdaClient({ region, maxAttempts: ATTEMPTS });
    this.#gateways = new ApiGatewayV2Client({ region, maxAttempts: ATTEMPTS });
  }

  /** The client of the control plane, for checks that change the API. */
  get gateways(): ApiGatewayV2Client {
    return this.#gateways;
  }

  /** Returns the account id and the ARN of the caller. */
  async caller(): Promise<{ readonly account: string; readonly arn: string }> {
    const xml = await this.#query.call("sts", "GetCallerIdentity");
    return { account: valuesOf(xml, "Account")[0] ?? "", arn: valuesOf(xml, "Arn")[0] ?? "" };
  }

  /** Creates a role that Lambda can assume. Returns its ARN. */
  async createRole(name: string, runId: string): Promise<string> {
    const trust = {
      Version: "2012-10-17",
      Statement: [
        { Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" }, Action: "sts:AssumeRole" },
      ],
    };
    const xml = await this.#query.call("iam", "CreateRole", {
      RoleName: name,
      Path: ROLE_PATH,
      AssumeRolePolicyDocument: JSON.stringify(trust),
      "Tags.member.1.Key": TAG,
      "Tags.member.1.Value": runId,
    });
    return valuesOf(xml, "Arn")[0] ?? "";
  }

  async putRolePolicy(name: string, policy: object): Promise<void> {
    const PolicyDocument = JSON.stringify(policy);
    await this.#query.call("iam", "PutRolePolicy", {
      RoleName: name,
      PolicyName: POLICY_NAME,
      PolicyDocument,
    });
  }

  /** Creates a function, and waits until it can be invoked. Returns its ARN. */
  async createFunction(
    name: string,
    runId: string,
    { role, code, key }: { readonly role: string; readonly code: Buffer; readonly key: string },
    signal: AbortSignal,
  ): Promise<string> {
    const command = new CreateFunctionCommand({
      FunctionName: name,
      Role: role,
      Runtime: "nodejs22.x",
      Architectures: ["x86_64"],
      Handler: "index.handler",
      Timeout: FUNCTION_TIMEOUT_SECONDS,
      MemorySize: 512,
      Environment: { Variables: { SMOKE_KEY: key, NODE_ENV: "production" } },
      Tags: { [TAG]: runId },
      Code: { ZipFile: code },
    });
    await poll(
      "Lambda can assume the new role",
      ROLE_MS,
      () =>
        this.#lambda.send(command).catch((error: Error) => {
          if (/cannot be assumed/.test(error.message)) return undefined;
          throw error;
        }),
      { signal, everyMs: 2000 },
    );
    return poll(
      "The function is active",
      FUNCTION_MS,
      async () => {
        const read = new GetFunctionConfigurationCommand({ FunctionName: name });
        const { State, StateReason, FunctionArn } = await this.#lambda.send(read);
        if (State === "Failed") throw new Error(`The function ${name} failed: ${StateReason}`);
        return State === "Active" ? FunctionArn : undefined;
      },
      { signal },
    );
  }

  /** Restricts the function to one instance, because the database is a file of the instance. */
  async reserveInstance(name: string): Promise<void> {
    const command = new PutFunctionConcurrencyCommand({
      FunctionName: name,
      ReservedConcurrentExecutions: 1,
    });
    try {
      await this.#lambda.send(command);
    } catch (cause) {
      const { message } = cause as Error;
      if (!/UnreservedConcurrentExecution/.test(message)) throw cause;
      throw new Error(
        `The function needs a reserved concurrency of 1, which this account does not allow: ${message} ` +
          'Request a higher quota "Concurrent executions" of AWS Lambda, or use another region or account.',
        { cause },
      );
    }
  }

  /** Creates a public URL of the function. */
  async createFunctionUrl(name: string): Promise<string> {
    const { FunctionUrl = "" } = await this.#lambda.send(
      new CreateFunctionUrlConfigCommand({ FunctionName: name, AuthType: "NONE" }),
    );
    return FunctionUrl.replace(/\/$/, "");
  }

  /** Allows everyone to call the URL of the function, which requires two permissions. */
  async openFunctionUrl(name: string): Promise<void> {
    const all = { FunctionName: name, Principal: "*" };
    await this.#lambda.send(
      new AddPermissionCommand({
        ...all,
        StatementId: "smoke-url",
        Action: "lambda:InvokeFunctionUrl",
        FunctionUrlAuthType: "NONE",
      }),
    );
    await this.#lambda.send(
      new AddPermissionCommand({
        ...all,
        StatementId: "smoke-url-invoke",
        Action: "lambda:InvokeFunction",
        InvokedViaFunctionUrl: true,
      }),
    );
  }

  /** Sends a command to the function. @throws Error if the function fails */
  async invoke(name: string, command: Command): Promise<CommandResult> {
    const Payload = Buffer.from(JSON.stringify({ command }));
    const { FunctionError, Payload: result } = await this.#lambda.send(
      new InvokeCommand({ FunctionName: name, Payload }),
    );
    const text = Buffer.from(result ?? []).toString();
    if (FunctionError) throw new Error(`The command ${command.kind} failed in the function: ${text}`);
    return JSON.parse(text) as CommandResult;
  }

  /** Returns the resources of all runs, or of one. Functions without a URL or a policy count too. */
  async find(runId?: string): Promise<readonly Resource[]> {
    const names = runId === undefined ? [] : [nameOf(runId), httpNameOf(runId)];
    const isOurs = (name: string) => (runId === undefined ? name.startsWith(PREFIX) : names.includes(name));
    return [
      ...(await this.#apis()).filter(({ name }) => isOurs(name)),
      ...(await this.#functions()).filter(({ name }) => isOurs(name)),
      ...(await this.#roles()).filter(({ name }) => isOurs(name)),
    ];
  }

  /** Removes a resource. It is no error if it does not exist. */
  async remove({ kind, id }: Resource): Promise<void> {
    try {
      if (kind === "api") await this.#gateways.send(new DeleteApiCommand({ ApiId: id }));
      else if (kind === "function") await this.#lambda.send(new DeleteFunctionCommand({ FunctionName: id }));
      else await this.#removeRole(id);
    } catch (error) {
      const { name, code } = error as Error & { code?: string };
      if (!/NotFound|NoSuchEntity/.test(code ?? name)) throw error;
    }
  }

  close(): void {
    this.#lambda.destroy();
    this.#gateways.destroy();
  }

  async #removeRole(name: string): Promise<void> {
    // A role with an inline policy cannot be removed.
    const removePolicy = { RoleName: name, PolicyName: POLICY_NAME };
    await this.#query.call("iam", "DeleteRolePolicy", removePolicy).catch((error: unknown) => {
      if (!(error instanceof AwsQueryError && error.code === "NoSuchEntity")) throw error;
    });
    await this.#query.call("iam", "DeleteRole", { RoleName: name });
  }

  async #apis(): Promise<readonly Resource[]> {
    const found: Resource[] = [];
    let NextToken: string | undefined;
    do {
      const page = await this.#gateways.send(new GetApisCommand({ ...(NextToken ? { NextToken } : {}) }));
      for (const { ApiId: id = "", Name: name = "", Tags } of page.Items ?? [])
        if (Tags?.[TAG] !== undefined) found.push({ kind: "api", id, name });
      NextToken = page.NextToken;
    } while (NextToken);
    return found;
  }

  async #functions(): Promise<readonly Resource[]> {
    const found: Resource[] = [];
    let Marker: string | undefined;
    do {
      const page = await this.#lambda.send(new ListFunctionsCommand({ ...(Marker ? { Marker } : {}) }));
      for (const { FunctionName: name = "" } of page.Functions ?? [])
        found.push({ kind: "function", id: name, name });
      Marker = page.NextMarker;
    } while (Marker);
    return found;
  }

  async #roles(): Promise<readonly Resource[]> {
    const found: Resource[] = [];
    let marker: string | undefined;
    do {
      const parameters = { PathPrefix: ROLE_PATH, ...(marker ? { Marker: marker } : {}) };
      const xml = await this.#query.call("iam", "ListRoles", parameters);
      found.push(...valuesOf(xml, "RoleName").map((name) => ({ kind: "role", id: name, name }) as const));
      [marker] = valuesOf(xml, "Marker");
    } while (marker);
    return found;
  }
}

/** A resource in the account. */
export interface Resource {
  readonly kind: "api" | "function" | "role";
  /** The id for calls, which is the name of a function or a role. */
  readonly id: string;
  readonly name: string;
}

/** Returns the commands that remove a resource by hand. */
export function removalCommands({ kind, id }: Resource, region: string): readonly string[] {
  if (kind === "api") return [`aws apigatewayv2 delete-api --region ${region} --api-id ${id}`];
  if (kind === "function") return [`aws lambda delete-function --region ${region} --function-name ${id}`];
  return [
    `aws iam delete-role-policy --role-name ${id} --policy-name ${POLICY_NAME}`,
    `aws iam delete-role --role-name ${id}`,
  ];
}
