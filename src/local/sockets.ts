import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import { admit } from "./admission.ts";
import type { Deployment } from "./apis.ts";
import { CLOSE_GRACE_MS, type CloseInfo, Connection } from "./connections.ts";
import type { ConnectEvent, EventPlace, GatewayEvent, MessageEvent } from "./events.ts";
import { judgeUpgrade, refusalStatus, refuseUpgrade } from "./handshake.ts";
import { newId, newTraceId } from "./ids.ts";
import type { Integrations, Outcome } from "./integration.ts";
import { PageHosts } from "./page-hosts.ts";
import { errorFrame, routeResponse } from "./route-response.ts";
import type { Settings } from "./settings.ts";
import type { Stage } from "./stages.ts";
import { takeEach } from "./throttling.ts";
import { splitUrl } from "./url.ts";

/** Upgrades that may wait for their `$connect` at once; more are refused with 429. */
const MAX_PENDING_UPGRADES = 4096;

/**
 * What the types of `ws` do not know yet. A client that leaves its side of a closing socket open is cut. A message may come in any number
 * of frames, which `ws` would close with 1008: how long it may be is bounded, and one without a byte takes no room.
 */
const WS_OPTIONS: object = { closeTimeout: CLOSE_GRACE_MS, maxFragments: 0, maxBufferedChunks: 0 };

/**
 * A connection keeps no compression context between messages, which would take 300 KB for each. `maxPayload` applies to the
 * decompressed size: the rest of a message that exceeds it is not decompressed.
 */
const COMPRESSION = {
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
  /** Messages from this size on are compressed, in bytes. */
  threshold: 1024,
  /** Messages that are compressed or decompressed at the same time, in this process. */
  concurrencyLimit: 10,
  zlibDeflateOptions: { level: 3, memLevel: 7 },
};

/** Where the sockets are, and who hears of what fails. */
interface Surroundings {
  /** Host and port as this machine knows them. */
  readonly address: string;
  readonly port: number;
  report(error: unknown, where: string): void;
}

/** A socket, and where it is open. */
interface SocketPlace {
  readonly stage: Stage;
  readonly place: EventPlace;
  readonly connection: Connection;
}

/** The life of every socket: its upgrade, who may connect, its messages, its end. */
export class Sockets {
  readonly #settings: Settings;
  readonly #integrations: Integrations;
  readonly #surroundings: Surroundings;
  readonly #subprotocols = new WeakMap<IncomingMessage, string>();
  readonly #webSockets: WebSocketServer;
  readonly #unadmitted = new Set<Duplex>();
  readonly #pageHosts = new PageHosts();
  #pendingUpgrades = 0;
  #takesNoMore = false;

  constructor(settings: Settings, integrations: Integrations, surroundings: Surroundings) {
    this.#settings = settings;
    this.#integrations = integrations;
    this.#surroundings = surroundings;
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: MAX_MESSAGE_BYTES,
      perMessageDeflate: COMPRESSION,
      ...WS_OPTIONS,
      // Left alone, `ws` would accept the first one offered; AWS accepts what the integration returned.
      handleProtocols: (_offered, request) => this.#subprotocols.get(request) ?? false,
    });
  }

  /** Takes an upgrade request, which becomes a socket or is refused. */
  take(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    this.#connect(request, socket, head).catch((error) => {
      socket.destroy();
      this.#surroundings.report(error, "$connect");
    });
  }

  /** Refuses every upgrade from now on: at once also those whose authorizer is being asked, and others when `$connect` has been answered. */
  takeNoMore(): void {
    this.#takesNoMore = true;
    for (const socket of this.#unadmitted) refuseUpgrade(socket, 503);
  }

  async #connect(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { path, query } = splitUrl(request.url ?? "");
    const { host } = request.headers;
    const found = this.#settings.stages.at(host, path);
    const stage = found?.rest === "" ? found.stage : undefined;
    const refusal = this.#judge(request, stage);
    if (refusal !== undefined || !stage) return refuseUpgrade(socket, refusal ?? 403);
    const { deployment } = stage;
    const connection = new Connection({
      sourceIp: request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "",
      userAgent: request.headers["user-agent"],
      clock: this.#settings.clock,
    });
    const place = this.#placeOf(stage, host);
    this.#pendingUpgrades++;
    const outcome = await this.#arrive(request, socket, stage, deployment, {
      kind: "connect",
      routeKey: "$connect",
      connection,
      requestId: newId(),
      traceId: newTraceId(),
      place,
      at: connection.connectedAt,
      client: { rawHeaders: request.rawHeaders, query },
    }).finally(() => this.#pendingUpgrades--);
    if (typeof outcome === "number") {
      this.#pageHosts.denied(request, outcome);
      return refuseUpgrade(socket, outcome);
    }
    if (outcome?.kind === "answered" && outcome.subprotocol)
      this.#subprotocols.set(request, outcome.subprotocol);
    const socketPlace: SocketPlace = { stage, place, connection };
    if (this.#takesNoMore) refuseUpgrade(socket, 503);
    else this.#open(socketPlace, request, socket, head);
    // The backend has accepted a client that is gone by now: it must hear so, or its row stays open.
    if (!stage.connections.find(connection.id))
      await this.#disconnect(socketPlace, { code: 1006, reason: "" });
  }

  /** @returns the status to refuse with, before anybody is asked */
  #judge(request: IncomingMessage, stage: Stage | undefined): number | undefined {
    if (this.#takesNoMore) return 503;
    const isStage = stage !== undefined && this.#settings.allowedHosts.allows(request);
    const refusal = judgeUpgrade(request, isStage);
    if (refusal !== undefined) return refusal;
    if (this.#pendingUpgrades >= MAX_PENDING_UPGRADES) return 429;
    const { connections, requests } = this.#settings.account;
    return takeEach([stage?.bucketOf("$connect"), connections, requests]) ? undefined : 429;
  }

  /** @returns the status to refuse with, or what came of `$connect`: undefined where there is no such route */
  async #arrive(
    request: IncomingMessage,
    socket: Duplex,
    stage: Stage,
    deployment: Deployment,
    event: ConnectEvent,
  ): Promise<Outcome | number | undefined> {
    this.#unadmitted.add(socket);
    const admission = await admit(event, request, stage, deployment);
    this.#unadmitted.delete(socket);
    if (this.#takesNoMore) return 503;
    if (admission.kind === "refused") {
      if (admission.error !== undefined) this.#surroundings.report(admission.error, "$connect");
      return admission.status;
    }
    const outcome = await this.#run(deployment, admission.event);
    return (outcome && refusalStatus(outcome)) ?? outcome;
  }

  #placeOf({ apiId, name, variables }: Stage, host: string | undefined): EventPlace {
    const { stages, tls } = this.#settings;
    const { address, port } = this.#surroundings;
    const domainName = host !== undefined && stages.isKnownHost(host) ? host : address;
    return { apiId, stage: name, stageVariables: variables, domainName, port, isSecure: tls !== undefined };
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

  /** Not awaited by the next message: as at AWS, answers come in the order in which the backend finishes. Never rejects. */
  async #message(at: SocketPlace, body: Buffer): Promise<void> {
    const { connection, stage, place } = at;
    const { deployment } = stage;
    let routeKey = "$default";
    const requestId = newId();
    const { report } = this.#surroundings;
    try {
      routeKey = deployment.selection.select(body);
      const frame = await this.#answerTo(stage, deployment, {
        kind: "message",
        routeKey,
        connection,
        requestId,
        traceId: newTraceId(),
        place,
        at: this.#settings.clock.now(),
        messageId: newId(),
        body,
      });
      if (frame && connection.send(frame) === "busy")
        report(new Error("The client reads too slowly; the answer to its message was dropped."), routeKey);
    } catch (error) {
      report(error, routeKey);
      connection.send(errorFrame("Internal server error", { connectionId: connection.id, requestId }));
    }
  }

  /** @returns the frame that a message is answered with, or undefined for none */
  async #answerTo(stage: Stage, deployment: Deployment, event: MessageEvent): Promise<Buffer | undefined> {
    const { routeKey, requestId, connection } = event;
    const ids = { connectionId: connection.id, requestId };
    const { account, onThrottledMessage, onHttpError } = this.#settings;
    if (!takeEach([stage.bucketOf(routeKey), account.requests]))
      return onThrottledMessage === "errorFrame" ? errorFrame("Too Many Requests", ids) : undefined;
    const outcome = await this.#run(deployment, event);
    if (!outcome) return errorFrame("Forbidden", ids);
    const isTwoWay = deployment.routes.get(routeKey)?.routeResponse ?? false;
    return routeResponse(outcome, ids, { onHttpError, routeResponse: isTwoWay });
  }

  /** Never rejects. */
  async #disconnect({ stage, place, connection }: SocketPlace, ending: CloseInfo): Promise<void> {
    await connection.messagesStarted();
    try {
      await this.#run(stage.deployment, {
        kind: "disconnect",
        routeKey: "$disconnect",
        connection,
        requestId: newId(),
        traceId: newTraceId(),
        place,
        at: this.#settings.clock.now(),
        ending,
      });
    } catch (error) {
      this.#surroundings.report(error, "$disconnect");
    }
  }

  /** @returns undefined where there is no such route */
  async #run({ routes }: Deployment, event: GatewayEvent): Promise<Outcome | undefined> {
    const route = routes.get(event.routeKey);
    if (!route) return undefined;
    const { report } = this.#surroundings;
    const outcome = await this.#integrations.run(event, route.integration);
    if (outcome.kind === "unreachable" || outcome.kind === "failed") report(outcome.error, event.routeKey);
    if (outcome.kind === "timed out")
      report(new Error(`No answer within ${route.integration.timeoutMs} ms.`), event.routeKey);
    if (outcome.kind === "answered" && event.kind === "message" && !(outcome.body && isUtf8(outcome.body))) {
      const why = outcome.body ? "is not UTF-8" : "is over 128 KB";
      report(new Error(`The answer ${why}, so no message can carry it.`), event.routeKey);
    }
    return outcome;
  }
}
