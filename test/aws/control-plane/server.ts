import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Apis } from "./apis.ts";
import { DeployedFunctions } from "./deployed-functions.ts";
import { ACCOUNT, Functions } from "./functions.ts";
import { type Arrived, Iam } from "./iam.ts";
import { AwsError, decode } from "./operations.ts";
import { Clock, Rates } from "./rates.ts";
import { decodeQuery, queryError, Roles } from "./roles.ts";

/** A fault of a call. */
export type Fault =
  /** The call is rejected with this error, and nothing changes. */
  | { readonly kind: "rejected"; readonly status: number; readonly type: string; readonly message?: string }
  /** Its connection breaks before anything was done. */
  | { readonly kind: "lost" }
  /** It is never answered, and nothing was done. */
  | { readonly kind: "silent" }
  /** It was done, and its connection breaks before the answer. */
  | { readonly kind: "answer lost" };

/** A call that was received. */
export interface Logged {
  readonly operation: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly at: number;
  /** Status of the answer. 0 if no answer was sent. */
  readonly status: number;
}

/**
 * The control planes of API Gateway, Lambda, IAM and STS as an HTTP server for tests. It decodes
 * calls with the models of the AWS SDK. Its pages are short, so that a client that reads only the first one
 * fails.
 */
export class ControlPlane {
  readonly clock: Clock;
  readonly region: string;
  readonly apis: Apis;
  readonly functions = new Functions();
  /** Functions that were created by calls. */
  readonly deployed: DeployedFunctions;
  readonly roles = new Roles();
  /** The permissions of the caller. */
  readonly iam: Iam;
  /** Every call so far. */
  readonly calls: Logged[] = [];
  /** Returns the fault of a call that changes something, by its number from 1. Default: none. */
  fault: (operation: string, change: number) => Fault | undefined | Promise<Fault | undefined> = () =>
    undefined;
  /** An error that the test threw in `fault`. The run would report it as an error of AWS. */
  readonly thrown: unknown[] = [];
  /** Number of calls so far that change something. */
  changes = 0;
  readonly #rates: Rates;
  readonly #server: Server;

  private constructor(region: string, clock: Clock) {
    this.region = region;
    this.clock = clock;
    this.apis = new Apis(this.clock, region, 2);
    this.deployed = new DeployedFunctions(region, ACCOUNT);
    this.iam = new Iam(region, this.apis, this.functions, this.roles);
    this.#rates = new Rates(this.clock);
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  /** @param clock Default: a clock that advances only when it is moved */
  static async start(region = "eu-west-1", clock = new Clock({ runs: false })): Promise<ControlPlane> {
    const plane = new ControlPlane(region, clock);
    await new Promise<void>((resolve) => plane.#server.listen(0, "127.0.0.1", resolve));
    return plane;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const isQuery = /^application\/x-www-form-urlencoded/.test(request.headers["content-type"] ?? "");
    try {
      this.#checkSignature(request);
      const url = new URL(request.url ?? "", "http://control.plane");
      const body = Buffer.concat(chunks).toString();
      const call = isQuery ? decodeQuery(body) : decode(request.method ?? "", url, body);
      const { operation, input } = call;
      const arrived = { operation, input, method: request.method ?? "", path: url.pathname };
      const log = (status: number) => this.calls.push({ operation, input, at: this.clock.now, status });
      // Throttling is checked before any other fault.
      const excess = this.#rates.rejection(operation);
      const fault = excess || /^(Get|List)/.test(operation) ? undefined : await this.#faultOf(operation);
      if (fault?.kind === "silent") {
        log(0);
        return;
      }
      if (fault?.kind === "lost") {
        log(0);
        request.socket.destroy();
        return;
      }
      try {
        if (fault?.kind === "rejected")
          throw new AwsError(fault.status, fault.type, fault.message ?? "The test says so");
        if (excess) throw excess;
        const output = await this.#run(arrived);
        if (fault?.kind === "answer lost") {
          log(0);
          request.socket.destroy();
          return;
        }
        log(call.status);
        const headers = { "content-type": call.contentType, ...call.headers?.(output) };
        response.writeHead(call.status, headers).end(call.status === 204 ? "" : call.encode(output));
      } catch (error) {
        log(error instanceof AwsError ? error.status : 500);
        throw error;
      }
    } catch (error) {
      const failure = error instanceof AwsError ? error : new AwsError(500, "InternalFailure", String(error));
      const { status, type, message } = failure;
      if (isQuery)
        return void response.writeHead(status, { "content-type": "text/xml" }).end(queryError(failure));
      const headers = { "content-type": "application/json", "x-amzn-errortype": type };
      response.writeHead(status, headers).end(JSON.stringify({ message, Message: message }));
    }
  }

  async #faultOf(operation: string): Promise<Fault | undefined> {
    try {
      return await this.fault(operation, ++this.changes);
    } catch (error) {
      this.thrown.push(error);
      throw error;
    }
  }

  async #run(arrived: Arrived): Promise<unknown> {
    this.iam.authorize(arrived);
    const { operation, input } = arrived;
    if (this.roles.has(operation)) return this.roles.run(operation, input as Record<string, string>);
    if (this.deployed.has(operation)) {
      const output = await this.deployed.run(operation, input);
      if (operation === "CreateFunction") this.functions.add((output as { FunctionArn: string }).FunctionArn);
      return output;
    }
    if (operation === "AddPermission" || operation === "GetPolicy" || operation === "RemovePermission")
      return this.functions[operation](input as Readonly<Record<string, string>>);
    return this.apis.run(operation, input);
  }

  #checkSignature(request: IncomingMessage): void {
    const scope = new RegExp(
      `^AWS4-HMAC-SHA256 Credential=[^/]+/\\d{8}/(${this.region}/(apigateway|lambda|sts)|us-east-1/iam)/aws4_request, `,
    );
    if (!scope.test(request.headers.authorization ?? ""))
      throw new AwsError(403, "AccessDeniedException", "The call is not signed for this service and region");
  }
}
