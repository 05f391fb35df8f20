/** AWS API Gateway's WebSocket APIs on your desk: sockets on one side, HTTP_PROXY integrations on the other. */

import { isUtf8 } from "node:buffer";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { ConfigurationError } from "../errors.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import { CLOSE_GRACE_MS, Connection, Connections, type Ending } from "./connections.ts";
import { judgeUpgrade, refuseUpgrade, splitUrl } from "./handshake.ts";
import { newId } from "./ids.ts";
import { Integrations, type Outcome } from "./integration.ts";
import type { GatewayEvent } from "./integration-headers.ts";
import { managementApi } from "./management-api.ts";
import { isSuccess, routeResponse } from "./route-response.ts";
import { checkOptions, type LocalGatewayOptions, type Settings } from "./settings.ts";

export type { LocalGatewayOptions } from "./settings.ts";

/** Upgrades that may wait for their `$connect` at once; more are refused with 429. */
const MAX_PENDING_UPGRADES = 4096;

/** A client that leaves its side of a closing socket open is cut; the type of `ws` does not know the option yet. */
const CLOSE_OPTIONS: object = { closeTimeout: CLOSE_GRACE_MS };

/** How long `close()` waits for what is under way. */
const SHUTDOWN_MS = 2_000;

/**
 * Starts a local API Gateway in front of `target` and resolves when it listens.
 *
 * Behaves as AWS does where that is known and takes the strict side where it is not. Signatures of Management API
 * calls are not checked. The caller owns it and ends it with `close()`.
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
  readonly apiId: string;
  readonly stage: string;
  readonly #server: Server;
  readonly #settings: Settings;
  readonly #address: string;
  readonly #port: number;
  readonly #connections = new Connections();
  readonly #integrations: Integrations;
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
    this.#port = (server.address() as AddressInfo).port;
    this.#address = `${settings.host.includes(":") ? `[${settings.host}]` : settings.host}:${this.#port}`;
    const identity = { ...settings, domainName: this.#address, port: this.#port };
    this.#integrations = new Integrations(settings, identity, settings.integrationTimeoutMs);
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: MAX_MESSAGE_BYTES,
      perMessageDeflate: false,
      ...CLOSE_OPTIONS,
      // Left alone, `ws` would accept the first one offered; AWS accepts what the integration returned.
      handleProtocols: (_offered, request) => this.#subprotocols.get(request) ?? false,
    });
    server.on("request", managementApi(settings.stage, this.#connections));
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

  /** How many sockets are open. */
  get connectionCount(): number {
    return this.#connections.count;
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
    const refusal = this.#judge(request);
    if (refusal !== undefined) return refuseUpgrade(socket, refusal);
    const connection = new Connection({
      sourceIp: request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "",
      userAgent: request.headers["user-agent"],
    });
    const client = { rawHeaders: request.rawHeaders, query: splitUrl(request.url ?? "").query };
    this.#pendingUpgrades++;
    const outcome = await this.#run({
      kind: "connect",
      routeKey: "$connect",
      connection,
      requestId: newId(),
      client,
    });
    this.#pendingUpgrades--;
    const status = refusalStatus(outcome);
    if (status !== undefined) return refuseUpgrade(socket, status);
    if (outcome.kind === "answered" && outcome.subprotocol)
      this.#subprotocols.set(request, outcome.subprotocol);
    if (this.#closing) refuseUpgrade(socket, 503);
    else this.#open(connection, request, socket, head);
    // The backend has accepted a client that is gone by now: it must hear so, or its row stays open.
    if (!this.#connections.find(connection.id))
      await this.#disconnect(connection, { code: 1006, reason: "" });
  }

  #judge(request: IncomingMessage): number | undefined {
    if (this.#closing) return 503;
    return (
      judgeUpgrade(request, this.stage) ?? (this.#pendingUpgrades < MAX_PENDING_UPGRADES ? undefined : 429)
    );
  }

  #open(connection: Connection, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.#connections.add(connection);
      connection.open(webSocket, socket, {
        idleTimeoutMs: this.#settings.idleTimeoutMs,
        maxConnectionMs: this.#settings.maxConnectionMs,
        message: (data) => this.#message(connection, data),
        ended: (ending) => {
          this.#connections.remove(connection);
          void this.#disconnect(connection, ending);
        },
      });
    });
  }

  /** Not awaited by the next message: as at AWS, answers come in the order in which the backend finishes. */
  async #message(connection: Connection, body: Buffer): Promise<void> {
    const routeKey = this.#settings.routeSelection.select(body);
    const requestId = newId();
    const outcome = await this.#run({ kind: "message", routeKey, connection, requestId, body });
    const frame = routeResponse(outcome, { connectionId: connection.id, requestId }, this.#settings);
    if (frame && connection.send(frame) === "busy") {
      this.#report(
        new Error("The client reads too slowly; the answer to its message was dropped."),
        routeKey,
      );
    }
  }

  async #disconnect(connection: Connection, ending: Ending): Promise<void> {
    await connection.messagesStarted();
    await this.#run({ kind: "disconnect", routeKey: "$disconnect", connection, requestId: newId(), ending });
  }

  async #run(event: GatewayEvent): Promise<Outcome> {
    const outcome = await this.#integrations.run(event);
    if (outcome.kind === "unreachable") this.#report(outcome.error, event.routeKey);
    if (outcome.kind === "timed out") {
      this.#report(new Error(`No answer within ${this.#settings.integrationTimeoutMs} ms.`), event.routeKey);
    }
    if (outcome.kind === "answered" && event.kind === "message" && !(outcome.body && isUtf8(outcome.body))) {
      const why = outcome.body ? "is not UTF-8" : "is over 128 KB";
      this.#report(new Error(`The answer ${why}, so no message can carry it.`), event.routeKey);
    }
    return outcome;
  }

  async #close(): Promise<void> {
    const freed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await this.#connections.endAll();
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

function refusalStatus(outcome: Outcome): number | undefined {
  if (outcome.kind === "timed out") return 504;
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
