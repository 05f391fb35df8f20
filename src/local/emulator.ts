/** AWS API Gateway's WebSocket APIs on your desk: sockets on one side, HTTP backends and functions on the other. */

import { checkDeployable, type DeployableApi, type LocalStage } from "./apis.ts";
import { FaultSwitches, type Faults } from "./faults.ts";
import { checkHttpClient, Integrations } from "./integration.ts";
import { type Listener, listen } from "./listener.ts";
import { managementApi } from "./management-api.ts";
import type { NetworkFault } from "./network-fault.ts";
import { checkOptions, type LocalGatewayOptions, type Settings } from "./settings.ts";
import { checkedChoice, checkShape, type Shape } from "./shape.ts";
import { Sockets } from "./sockets.ts";
import type { Stages } from "./stages.ts";

export type { ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
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
export type { Chance, Faults, FaultyEvent } from "./faults.ts";
export type { LambdaFunction } from "./function-call.ts";
export type { IamAuthorization, LocalAuthorization } from "./guards.ts";
export type { Certificate } from "./listener.ts";
export type { NetworkFault } from "./network-fault.ts";
export type { DeclaredParameters } from "./parameters.ts";
export type { LocalGatewayOptions } from "./settings.ts";
export type { DomainMappings } from "./stages.ts";
export type { AccountThrottling } from "./throttling.ts";

/** Where an API is deployed to. */
interface DeploymentPlace {
  /** Default: the first API. */
  readonly apiId?: string;
  /** Default: the first stage of the first API. */
  readonly stage?: string;
  /** Of a stage that is made by the deployment. Default: none. */
  readonly options?: LocalStage;
}

const DEPLOYMENT_PLACE = {
  apiId: "text",
  stage: "text",
  options: "object",
} as const satisfies Shape<DeploymentPlace>;

/** How long `close()` waits for what is under way. */
const SHUTDOWN_MS = 2_000;

/**
 * Starts a local API Gateway in front of `target`, or with `apis`, and resolves when it listens.
 *
 * Behaves as AWS does where that is known and takes the strict side where it is not. The caller owns it and ends it with `close()`.
 *
 * @throws ConfigurationError for a wrong option or a port in use
 */
export async function startLocalGateway(options: LocalGatewayOptions): Promise<LocalGateway> {
  const settings = checkOptions(options);
  checkHttpClient();
  return new LocalGateway(await listen(settings), settings);
}

/** A running local gateway. Made by `startLocalGateway`. */
export class LocalGateway {
  /** Of the first API. */
  readonly apiId: string;
  /** The first one of the first API. */
  readonly stage: string;
  readonly #listener: Listener;
  readonly #stages: Stages;
  readonly #address: string;
  /** What stands behind "http" and "ws" in URLs. */
  readonly #secured: "" | "s";
  readonly #faults = new FaultSwitches();
  readonly #integrations = new Integrations(this.#faults);
  readonly #sockets: Sockets;
  readonly #onError: Settings["onError"];
  #closing: Promise<void> | undefined;

  constructor(listener: Listener, settings: Settings) {
    const { apiId, stage, host, stages, tls, onError } = settings;
    this.apiId = apiId;
    this.stage = stage;
    this.#listener = listener;
    this.#stages = stages;
    const { server, port } = listener;
    this.#address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    this.#secured = tls ? "s" : "";
    this.#onError = onError;
    this.#sockets = new Sockets(settings, this.#integrations, {
      address: this.#address,
      port,
      report: (error, where) => this.#report(error, where),
    });
    server.on("request", managementApi(settings));
    server.on("upgrade", (request, socket, head) => this.#sockets.take(request, socket, head));
    server.on("error", (error) => this.#report(error, "server"));
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Where clients connect: `ws://host:port/stage`, with `tls` by `wss:`. */
  get url(): string {
    return `ws${this.#secured}://${this.#address}/${this.stage}`;
  }

  /** Endpoint for a Management API client: `http://host:port/stage`, with `tls` by `https:`. */
  get endpoint(): string {
    return `http${this.#secured}://${this.#address}/${this.stage}`;
  }

  /** How many sockets are open, at all stages together. */
  get connectionCount(): number {
    let count = 0;
    for (const { connections } of this.#stages) count += connections.count;
    return count;
  }

  /**
   * Serves an API as it is given at a stage from now on, as a deployment does at AWS: sockets stay, and their next message takes the new
   * routes. A stage that is not there is made.
   *
   * @throws ConfigurationError for what AWS would refuse
   */
  deploy(api: DeployableApi, to: DeploymentPlace = {}): void {
    checkDeployable(api);
    checkShape("deploy()", to, DEPLOYMENT_PLACE);
    const { apiId = this.apiId, stage = this.stage, options } = to;
    this.#stages.deploy(apiId, stage, api, options);
  }

  /**
   * Lets things go wrong between here and the backends from now on, in place of what went wrong before: `{}` ends it.
   *
   * @throws ConfigurationError for what is no share or duration
   */
  setFaults(faults: Faults): void {
    this.#faults.set(faults);
  }

  /**
   * Impairs a client: `half-open` as after a loss of network, of which the gateway knows nothing: posts succeed and are lost, nothing comes,
   * and that the client leaves is not seen; `not-reading` with a full buffer, so that posts are answered 429; `none` as before, with what the
   * client sent meanwhile.
   *
   * @param noticedAfterMs after how many milliseconds a half-open client is found out: its connection is gone, and `$disconnect` tells 1006.
   * Default: when it has been idle for too long, or open
   * @returns whether the connection is open
   * @throws ConfigurationError for another impairment
   */
  impair(
    connectionId: string,
    impairment: NetworkFault,
    { noticedAfterMs }: { readonly noticedAfterMs?: number } = {},
  ): boolean {
    checkedChoice("impairment", impairment, ["none", "half-open", "not-reading"]);
    for (const { connections } of this.#stages) {
      const connection = connections.find(connectionId);
      if (connection) return connection.impair(impairment, noticedAfterMs);
    }
    return false;
  }

  /** Ids of the open connections, at all stages together. */
  get connectionIds(): readonly string[] {
    return [...this.#stages].flatMap(({ connections }) => connections.ids);
  }

  /**
   * Ends every socket with 1001 "Going away" and frees the port.
   *
   * Integrations under way, and the `$disconnect` of each socket, get two seconds; after that none runs. An upgrade whose authorizer is
   * still being asked is refused with 503 at once. A second call waits for the first.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const freed = this.#listener.close();
    this.#sockets.takeNoMore();
    await Promise.all([...this.#stages].map(({ connections }) => connections.endAll()));
    await this.#integrations.close(SHUTDOWN_MS);
    this.#listener.cut();
    await freed;
  }

  #report(error: unknown, where: string): void {
    try {
      this.#onError(error, where);
    } catch {
      // A listener that throws must not end the gateway.
    }
  }
}
