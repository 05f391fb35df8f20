/** AWS API Gateway's WebSocket APIs on your desk: sockets on one side, HTTP backends and functions on the other. */

import { isUtf8 } from "node:buffer";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { ConfigurationError } from "../errors.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { LocalApi } from "./apis.ts";
import { CLOSE_GRACE_MS, Connection, type Ending, type Impairment } from "./connections.ts";
import type { EventPlace, GatewayEvent } from "./events.ts";
import { FaultSwitches, type Faults } from "./faults.ts";
import { judgeUpgrade, refuseUpgrade, splitUrl } from "./handshake.ts";
import { newId } from "./ids.ts";
import { Integrations, type Outcome } from "./integration.ts";
import { managementApi } from "./management-api.ts";
import { errorFrame, isSuccess, routeResponse } from "./route-response.ts";
import { checkOptions, type LocalGatewayOptions, type Settings } from "./settings.ts";
import type { Stage, Stages } from "./stages.ts";

export type {
  FunctionIntegration,
  HttpProxyIntegration,
  LocalApi,
  LocalIntegration,
  LocalRoute,
  LocalStage,
  Throttling,
} from "./apis.ts";
export { type Alarm, type Clock, ManualClock } from "./clock.ts";
export type { Impairment } from "./connections.ts";
export type { Chance, Faults, FaultyEvent } from "./faults.ts";
export type { LambdaFunction } from "./function-proxy.ts";
export type { LocalGatewayOptions } from "./settings.ts";
export type { DomainMappings } from "./stages.ts";

/** Upgrades that may wait for their `$connect` at once; more are refused with 429. */
const MAX_PENDING_UPGRADES = 4096;

/** A client that leaves its side of a closing socket open is cut; the type of `ws` does not know the option yet. */
const CLOSE_OPTIONS: object = { closeTimeout: CLOSE_GRACE_MS };

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
  const server = createServer();
  await listen(server, settings);
  return new LocalGateway(server, settings);
}

/** A running local gateway. Made by `startLocalGateway`. */
export class LocalGateway {
  /** Of the first API. */
  readonly apiId: string;
  /** The first one of the first API. */
  readonly stage: string;
  readonly #server: Server;
  readonly #settings: Settings;
  readonly #stages: Stages;
  readonly #address: string;
  readonly #port: number;
  readonly #faults = new FaultSwitches();
  readonly #integrations = new Integrations(this.#faults);
  readonly #subprotocols = new WeakMap<IncomingMessage, string>();
  readonly #webSockets: WebSocketServer;
  readonly #sockets = new Set<Duplex>();
  #pendingUpgrades = 0;
  #closing: Promise<void> | undefined;

  /** @param server listening already, with no listener of its own */
  constructor(server: Server, settings: Settings) {
    this.apiId = settings.apiId;
    this.stage = settings.stage;
    this.#server = server;
    this.#settings = settings;
    this.#stages = settings.stages;
    this.#port = (server.address() as AddressInfo).port;
    this.#address = `${settings.host.includes(":") ? `[${settings.host}]` : settings.host}:${this.#port}`;
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: MAX_MESSAGE_BYTES,
      perMessageDeflate: false,
      ...CLOSE_OPTIONS,
      // Left alone, `ws` would accept the first one offered; AWS accepts what the integration returned.
      handleProtocols: (_offered, request) => this.#subprotocols.get(request) ?? false,
    });
    server.on("request", managementApi(settings));
    server.on("upgrade", (request, socket, head) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      this.#connect(request, socket, head).catch((error) => {
        socket.destroy();
        this.#report(error, "$connect");
      });
    });
    server.on("error", (error) => this.#report(error, "server"));
  }

  get port(): number {
    return this.#port;
  }

  /** Where clients connect: `ws://host:port/stage`. */
  get url(): string {
    return `ws://${this.#address}/${this.stage}`;
  }

  /** Endpoint for a Management API client: `http://host:port/stage`. */
  get endpoint(): string {
    return `http://${this.#address}/${this.stage}`;
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
  deploy(
    api: Pick<LocalApi, "routes" | "routeSelectionExpression">,
    { apiId = this.apiId, stage = this.stage }: { readonly apiId?: string; readonly stage?: string } = {},
  ): void {
    this.#stages.deploy(apiId, stage, api);
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
   */
  impair(
    connectionId: string,
    impairment: Impairment,
    { noticedAfterMs }: { readonly noticedAfterMs?: number } = {},
  ): boolean {
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
   * Integrations under way, and the `$disconnect` of each socket, get two seconds; after that none runs. A second
   * call waits for the first.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #connect(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { path, query } = splitUrl(request.url ?? "");
    const found = this.#stages.at(request.headers.host, path);
    const stage = found?.rest === "" ? found.stage : undefined;
    const refusal = this.#judge(request, stage);
    if (refusal !== undefined || !stage) return refuseUpgrade(socket, refusal ?? 403);
    const connection = new Connection({
      sourceIp: request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "",
      userAgent: request.headers["user-agent"],
      clock: this.#settings.clock,
    });
    const place = this.#placeOf(stage, request.headers.host);
    this.#pendingUpgrades++;
    const outcome = await this.#run(stage, {
      kind: "connect",
      routeKey: "$connect",
      connection,
      requestId: newId(),
      place,
      at: connection.connectedAt,
      client: { rawHeaders: request.rawHeaders, query },
    });
    this.#pendingUpgrades--;
    const status = outcome && refusalStatus(outcome);
    if (status !== undefined) return refuseUpgrade(socket, status);
    if (outcome?.kind === "answered" && outcome.subprotocol)
      this.#subprotocols.set(request, outcome.subprotocol);
    const socketPlace: SocketPlace = { stage, place, connection };
    if (this.#closing) refuseUpgrade(socket, 503);
    else this.#open(socketPlace, request, socket, head);
    // The backend has accepted a client that is gone by now: it must hear so, or its row stays open.
    if (!stage.connections.find(connection.id))
      await this.#disconnect(socketPlace, { code: 1006, reason: "" });
  }

  #judge(request: IncomingMessage, stage: Stage | undefined): number | undefined {
    if (this.#closing) return 503;
    const refusal = judgeUpgrade(request, stage !== undefined);
    if (refusal !== undefined) return refusal;
    return this.#pendingUpgrades < MAX_PENDING_UPGRADES && stage?.takes("$connect") ? undefined : 429;
  }

  #placeOf({ apiId, name, variables }: Stage, host: string | undefined): EventPlace {
    const domainName = host !== undefined && this.#stages.isKnownHost(host) ? host : this.#address;
    return { apiId, stage: name, stageVariables: variables, domainName, port: this.#port };
  }

  #open(at: SocketPlace, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { connection, stage } = at;
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      stage.connections.add(connection);
      connection.open(webSocket, socket, {
        idleTimeoutMs: this.#settings.idleTimeoutMs,
        maxConnectionMs: this.#settings.maxConnectionMs,
        maxBufferedBytes: this.#settings.maxBufferedBytes,
        message: (data) => this.#message(at, data),
        ended: (ending) => {
          stage.connections.remove(connection);
          void this.#disconnect(at, ending);
        },
      });
    });
  }

  /** Not awaited by the next message: as at AWS, answers come in the order in which the backend finishes. */
  async #message({ stage, place, connection }: SocketPlace, body: Buffer): Promise<void> {
    const { routes, selection } = stage.deployment;
    const routeKey = selection.select(body);
    const requestId = newId();
    const ids = { connectionId: connection.id, requestId };
    if (!stage.takes(routeKey)) {
      if (this.#settings.onThrottledMessage === "errorFrame")
        connection.send(errorFrame("Too Many Requests", ids));
      return;
    }
    const event = {
      kind: "message",
      routeKey,
      connection,
      requestId,
      place,
      at: this.#settings.clock.now(),
      messageId: newId(),
      body,
    } as const;
    const outcome = await this.#run(stage, event);
    const frame = outcome
      ? routeResponse(outcome, ids, {
          ...this.#settings,
          routeResponse: routes.get(routeKey)?.routeResponse ?? false,
        })
      : errorFrame("Forbidden", ids);
    if (frame && connection.send(frame) === "busy") {
      this.#report(
        new Error("The client reads too slowly; the answer to its message was dropped."),
        routeKey,
      );
    }
  }

  async #disconnect({ stage, place, connection }: SocketPlace, ending: Ending): Promise<void> {
    await connection.messagesStarted();
    const event = { kind: "disconnect", routeKey: "$disconnect", connection, place, ending } as const;
    await this.#run(stage, { ...event, requestId: newId(), at: this.#settings.clock.now() });
  }

  /** @returns undefined where the stage has no such route */
  async #run(stage: Stage, event: GatewayEvent): Promise<Outcome | undefined> {
    const route = stage.deployment.routes.get(event.routeKey);
    if (!route) return undefined;
    const outcome = await this.#integrations.run(event, route.integration);
    if (outcome.kind === "unreachable" || outcome.kind === "failed")
      this.#report(outcome.error, event.routeKey);
    if (outcome.kind === "timed out") {
      this.#report(new Error(`No answer within ${route.integration.timeoutMs} ms.`), event.routeKey);
    }
    if (outcome.kind === "answered" && event.kind === "message" && !(outcome.body && isUtf8(outcome.body))) {
      const why = outcome.body ? "is not UTF-8" : "is over 128 KB";
      this.#report(new Error(`The answer ${why}, so no message can carry it.`), event.routeKey);
    }
    return outcome;
  }

  async #close(): Promise<void> {
    const freed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await Promise.all([...this.#stages].map(({ connections }) => connections.endAll()));
    await this.#integrations.close(SHUTDOWN_MS);
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await freed;
  }

  #report(error: unknown, where: string): void {
    try {
      this.#settings.onError(error, where);
    } catch {
      // A listener that throws must not end the gateway.
    }
  }
}

/** A socket, and where it is open. */
interface SocketPlace {
  readonly stage: Stage;
  readonly place: EventPlace;
  readonly connection: Connection;
}

function refusalStatus(outcome: Outcome): number | undefined {
  if (outcome.kind === "timed out") return 504;
  if (outcome.kind === "failed") return 502;
  if (outcome.kind === "unreachable") return 500;
  return isSuccess(outcome.status) ? undefined : outcome.status;
}

async function listen(server: Server, { host, port }: Settings): Promise<void> {
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") {
      throw new ConfigurationError(`Port ${port} is in use. Stop the other program, or choose another port.`);
    }
    throw new ConfigurationError(
      `Cannot listen on ${host}:${port} (${message}). Choose another host or port.`,
    );
  }
}
