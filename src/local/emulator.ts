/**
 * Emulates the WebSocket APIs of AWS API Gateway locally, in front of HTTP backends and functions.
 */

import { checkDeployable, type DeployableApi, type LocalStage } from "./apis.ts";
import type { NetworkFault } from "./connections.ts";
import { FaultSwitches, type Faults } from "./faults.ts";
import { isLoopbackAddress, isLoopbackHost } from "./hosts.ts";
import { Inspector } from "./inspector/inspector.ts";
import { Recorder } from "./inspector/recorder.ts";
import { checkHttpClient, Integrations } from "./integration.ts";
import { type Listener, listen } from "./listener.ts";
import { managementApi } from "./management-api.ts";
import { checkOptions, type LocalGatewayOptions, type Settings } from "./settings.ts";
import { checkedChoice, checkShape, type Shape } from "./shape.ts";
import { Sockets } from "./sockets.ts";
import type { Stages } from "./stages.ts";

export type { ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
export type { LambdaFunction } from "../protocol/function-call.ts";
export type {
  FunctionIntegration,
  HttpProxyIntegration,
  LocalApi,
  LocalIntegration,
  LocalRoute,
  LocalStage,
  Throttling,
} from "./apis.ts";
export type { FunctionAuthorizer } from "./authorizer.ts";
export { type Alarm, type Clock, ManualClock } from "./clock.ts";
export type { NetworkFault } from "./connections.ts";
export type { Chance, Faults, FaultyEvent, PostChance } from "./faults.ts";
export type { IamAuthorization, LocalAuthorization } from "./guards.ts";
export type { HandledEvent } from "./handled-event.ts";
export type { Certificate } from "./listener.ts";
export type { DeclaredParameters } from "./parameters.ts";
export type { LocalGatewayOptions } from "./settings.ts";
export type { DomainMappings } from "./stages.ts";
export type { AccountThrottling } from "./throttling.ts";

/** The stage that an API is deployed to. */
interface DeploymentPlace {
  /** The id of the API. Default: the first API. */
  readonly apiId?: string;
  /** The name of the stage. Default: the first stage of the first API. */
  readonly stage?: string;
  /** The options of a stage that the deployment creates. Default: none. */
  readonly options?: LocalStage;
}

const DEPLOYMENT_PLACE = {
  apiId: "text",
  stage: "text",
  options: "object",
} as const satisfies Shape<DeploymentPlace>;

/** The time for which `close()` waits for integrations in flight, in milliseconds. */
const SHUTDOWN_MS = 2_000;

/**
 * Starts a local API Gateway in front of `target`, or with `apis`, and resolves when it listens.
 *
 * It behaves as AWS does. Where the behavior of AWS is not known, it is strict.
 *
 * @param options the APIs, the address, and the limits
 * @returns the running gateway. Close it with `close()`.
 * @throws ConfigurationError for an invalid option, or a port that is in use
 */
export async function startLocalGateway(options: LocalGatewayOptions): Promise<LocalGateway> {
  const settings = checkOptions(options);
  checkHttpClient();
  return new LocalGateway(await listen(settings), settings);
}

/** A running local gateway. Create it with `startLocalGateway`. */
export class LocalGateway {
  /** The id of the first API. */
  readonly apiId: string;
  /** The first stage of the first API. */
  readonly stage: string;
  /**
   * The URL of the inspector: `http://host:port/` with a loopback name or address. Undefined without
   * an inspector, or if the gateway does not listen on a loopback address.
   */
  readonly inspectorUrl: string | undefined;
  readonly #listener: Listener;
  readonly #stages: Stages;
  readonly #address: string;
  /** The suffix of the schemes "http" and "ws" in URLs. */
  readonly #schemeSuffix: "" | "s";
  readonly #faults = new FaultSwitches();
  readonly #integrations = new Integrations(this.#faults);
  readonly #sockets: Sockets;
  readonly #inspector: Inspector | undefined;
  readonly #onError: Settings["onError"];
  #closing: Promise<void> | undefined;

  constructor(listener: Listener, settings: Settings) {
    const { apiId, stage, host, stages, tls, onError } = settings;
    this.apiId = apiId;
    this.stage = stage;
    this.#listener = listener;
    this.#stages = stages;
    const { server, port } = listener;
    this.#address = `${bracketed(host)}:${port}`;
    this.#schemeSuffix = tls ? "s" : "";
    this.#onError = onError;
    const inspectorHost = settings.inspector ? loopbackHost(host, listener.address) : undefined;
    if (inspectorHost !== undefined)
      this.inspectorUrl = `http${this.#schemeSuffix}://${inspectorHost}:${port}/`;
    const recorder = inspectorHost === undefined ? undefined : new Recorder();
    this.#inspector = recorder && new Inspector(stages, this.#faults, recorder, this.url);
    this.#sockets = new Sockets(settings, this.#integrations, {
      address: this.#address,
      port,
      recorder,
      report: (error, where) => this.#report(error, where),
    });
    const answer = managementApi(settings, this.#faults, {
      recorder,
      report: (error, where) => this.#report(error, where),
    });
    server.on("request", (request, response) => {
      if (!this.#inspector?.take(request, response)) answer(request, response);
    });
    server.on("upgrade", (request, socket, head) => this.#sockets.take(request, socket, head));
    server.on("error", (error) => this.#report(error, "server"));
  }

  /** The port that the gateway listens on. */
  get port(): number {
    return this.#listener.port;
  }

  /** The URL that clients connect to: `ws://host:port/stage`, or `wss:` with `tls`. */
  get url(): string {
    return `ws${this.#schemeSuffix}://${this.#address}/${this.stage}`;
  }

  /** The endpoint of the Management API: `http://host:port/stage`, or `https:` with `tls`. */
  get endpoint(): string {
    return `http${this.#schemeSuffix}://${this.#address}/${this.stage}`;
  }

  /** The number of open connections, at all stages together. */
  get connectionCount(): number {
    let count = 0;
    for (const { connections } of this.#stages) count += connections.count;
    return count;
  }

  /**
   * Deploys an API to a stage. A stage that does not exist is created.
   *
   * As at AWS, connections stay open, and their next message uses the new routes.
   *
   * @param api the routes and selection expressions to deploy
   * @param to the API and the stage. Default: the first stage of the first API
   * @throws ConfigurationError for an API that AWS would reject
   */
  deploy(api: DeployableApi, to: DeploymentPlace = {}): void {
    checkDeployable(api);
    checkShape("deploy()", to, DEPLOYMENT_PLACE);
    const { apiId = this.apiId, stage = this.stage, options } = to;
    this.#stages.deploy(apiId, stage, api, options);
  }

  /**
   * Simulates faults between the gateway and the backends, in both directions. The new faults replace
   * all former ones. Pass `{}` to remove all faults.
   *
   * @throws ConfigurationError for an invalid share or duration
   */
  setFaults(faults: Faults): void {
    this.#faults.set(faults);
  }

  /**
   * Simulates a network fault of a client.
   *
   * - `half-open`: the client lost its network. Posts to it succeed and are lost, its messages do
   *   not arrive, and its disconnect is not noticed.
   * - `not-reading`: its buffer is full, so posts to it are answered with 429.
   * - `none`: no fault. Messages that the client sent during a fault then arrive.
   *
   * @param options `noticedAfterMs`: time until a half-open client is noticed, in milliseconds. The
   *   connection then ends, and `$disconnect` receives 1006. Default: when it reaches its idle
   *   timeout or maximum duration
   * @returns whether the connection is open
   * @throws ConfigurationError for another fault
   */
  impair(
    connectionId: string,
    fault: NetworkFault,
    { noticedAfterMs }: { readonly noticedAfterMs?: number } = {},
  ): boolean {
    checkedChoice("fault", fault, ["none", "half-open", "not-reading"]);
    for (const { connections } of this.#stages) {
      const connection = connections.find(connectionId);
      if (connection) return connection.impair(fault, noticedAfterMs);
    }
    return false;
  }

  /** The ids of the open connections, at all stages together. */
  get connectionIds(): readonly string[] {
    return [...this.#stages].flatMap(({ connections }) => connections.ids);
  }

  /**
   * Closes every connection with 1001 "Going away", and frees the port.
   *
   * Integrations in flight, and the `$disconnect` of each connection, have two seconds to finish.
   * An upgrade that waits for its authorizer is rejected with 503. A second call waits for the
   * first one.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const listenerClosed = this.#listener.close();
    this.#inspector?.close();
    this.#sockets.rejectUpgrades();
    await Promise.all([...this.#stages].map(({ connections }) => connections.endAll()));
    await this.#integrations.close(SHUTDOWN_MS);
    this.#listener.cut();
    await listenerClosed;
  }

  #report(error: unknown, where: string): void {
    // A client that connected during the shutdown causes an event that no backend receives.
    if (this.#integrations.isClosed) return;
    try {
      this.#onError(error, where);
    } catch {
      // An error of the callback must not stop the gateway.
    }
  }
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/**
 * Returns the loopback name or address of a gateway for a URL, or undefined if it has none.
 *
 * @param host the name or address of the options
 * @param address the IP address that the gateway listens on
 */
function loopbackHost(host: string, address: string): string | undefined {
  if (address === "0.0.0.0") return "127.0.0.1";
  if (address === "::") return "[::1]";
  if (!isLoopbackAddress(address)) return undefined;
  return bracketed(isLoopbackHost(bracketed(host)) ? host : address);
}
