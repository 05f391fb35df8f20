import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import { authorizeConnect } from "./admission.ts";
import type { Deployment } from "./apis.ts";
import { CLOSE_GRACE_MS, type CloseInfo, Connection } from "./connections.ts";
import type { ConnectEvent, EventPlace, GatewayEvent, MessageEvent } from "./events.ts";
import { handledEvent } from "./handled-event.ts";
import { checkUpgrade, rejectionStatus, rejectUpgrade } from "./handshake.ts";
import { newId, newTraceId } from "./ids.ts";
import type { Recorder } from "./inspector/recorder.ts";
import type { Integrations, Outcome } from "./integration.ts";
import { PageHosts } from "./page-hosts.ts";
import { errorFrame, routeResponse } from "./route-response.ts";
import type { Settings } from "./settings.ts";
import type { Stage } from "./stages.ts";
import { takeEach } from "./throttling.ts";
import { UnknownPaths } from "./unknown-paths.ts";
import { splitUrl } from "./url.ts";

/** The maximum number of upgrades that wait for their `$connect`. More are rejected with 429. */
const MAX_PENDING_UPGRADES = 4096;

/**
 * Options that the types of `ws` do not contain yet. A client that does not close its side of the
 * socket is disconnected.
 *
 * `ws` would close a message of many frames with 1008. The number of frames needs no limit, because
 * the size of a message is limited, and an empty frame uses no memory.
 */
const WS_OPTIONS: object = { closeTimeout: CLOSE_GRACE_MS, maxFragments: 0, maxBufferedChunks: 0 };

/**
 * A connection keeps no compression context between messages, because it would use 300 KB.
 * `maxPayload` limits the decompressed size, and decompression stops when a message exceeds it.
 */
const COMPRESSION = {
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
  /** The minimum size of a message that is compressed, in bytes. */
  threshold: 1024,
  /** The maximum number of messages that are compressed or decompressed at the same time. */
  concurrencyLimit: 10,
  zlibDeflateOptions: { level: 3, memLevel: 7 },
};

/** The address of the gateway, and the callback for errors. */
interface GatewayContext {
  /** The host and port that the gateway listens on. */
  readonly address: string;
  readonly port: number;
  /** Records the events for the inspector, or undefined without one. */
  readonly recorder: Recorder | undefined;
  report(error: unknown, where: string): void;
}

/** A connection, and the stage at which it is open. */
interface SocketPlace {
  readonly stage: Stage;
  readonly place: EventPlace;
  readonly connection: Connection;
}

/** Handles the WebSockets: upgrades, authorization, messages and disconnects. */
export class Sockets {
  readonly #settings: Settings;
  readonly #integrations: Integrations;
  readonly #context: GatewayContext;
  readonly #subprotocols = new WeakMap<IncomingMessage, string>();
  readonly #webSockets: WebSocketServer;
  readonly #authorizing = new Set<Duplex>();
  readonly #pageHosts = new PageHosts();
  readonly #unknownPaths = new UnknownPaths();
  #pendingUpgrades = 0;
  #isShuttingDown = false;

  constructor(settings: Settings, integrations: Integrations, context: GatewayContext) {
    this.#settings = settings;
    this.#integrations = integrations;
    this.#context = context;
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: MAX_MESSAGE_BYTES,
      perMessageDeflate: COMPRESSION,
      ...WS_OPTIONS,
      // By default, `ws` accepts the first subprotocol. AWS accepts the one that the integration
      // returned.
      handleProtocols: (_offered, request) => this.#subprotocols.get(request) ?? false,
    });
  }

  /** Handles an upgrade request, which becomes a connection or is rejected. */
  take(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    this.#connect(request, socket, head).catch((error) => {
      socket.destroy();
      this.#context.report(error, "$connect");
    });
  }

  /**
   * Rejects every further upgrade. Upgrades that wait for their authorizer are rejected
   * immediately, and others when `$connect` has been answered.
   */
  rejectUpgrades(): void {
    this.#isShuttingDown = true;
    for (const socket of this.#authorizing) rejectUpgrade(socket, 503);
  }

  async #connect(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { path, query } = splitUrl(request.url ?? "");
    const { host } = request.headers;
    const found = this.#settings.stages.at(host, path);
    const stage = found?.rest === "" ? found.stage : undefined;
    const rejection = this.#checkUpgrade(request, stage);
    if (!stage) this.#unknownPaths.rejected(request, this.#settings.stages);
    if (rejection !== undefined || !stage) {
      this.#recordRejection(request, stage, rejection ?? 403);
      return rejectUpgrade(socket, rejection ?? 403);
    }
    const { deployment } = stage;
    const connection = new Connection({
      sourceIp: request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "",
      userAgent: request.headers["user-agent"],
      clock: this.#settings.clock,
    });
    const place = this.#placeOf(stage, host);
    this.#pendingUpgrades++;
    const outcome = await this.#runConnect(request, socket, stage, deployment, {
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
      return rejectUpgrade(socket, outcome);
    }
    if (outcome?.kind === "answered" && outcome.subprotocol)
      this.#subprotocols.set(request, outcome.subprotocol);
    const socketPlace: SocketPlace = { stage, place, connection };
    if (this.#isShuttingDown) rejectUpgrade(socket, 503);
    else this.#open(socketPlace, request, socket, head);
    // The backend accepted a client that has disconnected since then, so it must be notified.
    if (!stage.connections.find(connection.id))
      await this.#disconnect(socketPlace, { code: 1006, reason: "" });
  }

  /** @returns the status to reject the upgrade with, or undefined if it can be authorized */
  #checkUpgrade(request: IncomingMessage, stage: Stage | undefined): number | undefined {
    if (this.#isShuttingDown) return 503;
    const isStage = stage !== undefined && this.#settings.allowedHosts.allows(request);
    const rejection = checkUpgrade(request, isStage);
    if (rejection !== undefined) return rejection;
    if (this.#pendingUpgrades >= MAX_PENDING_UPGRADES) return 429;
    const { connections, requests } = this.#settings.account;
    return takeEach([stage?.bucketOf("$connect"), connections, requests]) ? undefined : 429;
  }

  /**
   * Authorizes a connect and calls its integration.
   *
   * @returns the status to reject the upgrade with, or the outcome of `$connect`, or undefined if
   *   there is no such route
   */
  async #runConnect(
    request: IncomingMessage,
    socket: Duplex,
    stage: Stage,
    deployment: Deployment,
    event: ConnectEvent,
  ): Promise<Outcome | number | undefined> {
    this.#authorizing.add(socket);
    const admission = await authorizeConnect(event, request, stage, deployment);
    this.#authorizing.delete(socket);
    if (this.#isShuttingDown) return 503;
    if (admission.kind === "rejected") {
      if (admission.error !== undefined) this.#context.report(admission.error, "$connect");
      this.#recordRejection(request, stage, admission.status, event.connection.id);
      return admission.status;
    }
    const outcome = await this.#run(deployment, admission.event);
    return (outcome && rejectionStatus(outcome)) ?? outcome;
  }

  #placeOf({ apiId, name, variables }: Stage, host: string | undefined): EventPlace {
    const { stages, tls } = this.#settings;
    const { address, port } = this.#context;
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

  /**
   * Handles a message. The promise never rejects. The next message does not wait for it, so answers
   * are sent in the order in which the backend finishes, as at AWS.
   */
  async #message(at: SocketPlace, body: Buffer): Promise<void> {
    const { connection, stage, place } = at;
    const { deployment } = stage;
    let routeKey = "$default";
    const requestId = newId();
    const { report } = this.#context;
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
        report(
          new Error(
            "The client reads too slowly, so the answer to its message was dropped. Send fewer messages, or increase maxBufferedBytes.",
          ),
          routeKey,
        );
    } catch (error) {
      report(error, routeKey);
      connection.send(errorFrame("Internal server error", { connectionId: connection.id, requestId }));
    }
  }

  /** Returns the frame that answers a message, or undefined for none. */
  async #answerTo(stage: Stage, deployment: Deployment, event: MessageEvent): Promise<Buffer | undefined> {
    const { routeKey, requestId, connection } = event;
    const ids = { connectionId: connection.id, requestId };
    const { account, onThrottledMessage, onHttpError } = this.#settings;
    if (!takeEach([stage.bucketOf(routeKey), account.requests])) {
      this.#context.recorder?.begin(event).reject("throttled");
      return onThrottledMessage === "errorFrame" ? errorFrame("Too Many Requests", ids) : undefined;
    }
    const outcome = await this.#run(deployment, event);
    if (!outcome) return errorFrame("Forbidden", ids);
    const hasRouteResponse = deployment.routes.get(routeKey)?.routeResponse ?? false;
    return routeResponse(outcome, ids, { onHttpError, routeResponse: hasRouteResponse });
  }

  /** Calls `$disconnect` of a connection that has ended. The promise never rejects. */
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
      this.#context.report(error, "$disconnect");
    }
  }

  /**
   * Calls the integration of an event, and reports failures. @returns undefined without such a
   * route
   */
  async #run({ routes }: Deployment, event: GatewayEvent): Promise<Outcome | undefined> {
    const { report, recorder } = this.#context;
    const record = recorder?.begin(event);
    const route = routes.get(event.routeKey);
    if (!route) {
      record?.reject("no route");
      return undefined;
    }
    const startedAt = performance.now();
    const outcome = await this.#integrations.run(event, route.integration, record);
    const tookMs = performance.now() - startedAt;
    record?.finish(outcome, tookMs);
    this.#reportEvent(event, outcome, tookMs);
    if (outcome.kind === "unreachable" || outcome.kind === "failed") report(outcome.error, event.routeKey);
    if (outcome.kind === "timed out") {
      const { timeoutMs } = route.integration;
      const message = `The backend did not answer within ${timeoutMs} ms. Check that it responds, or set a longer timeout.`;
      report(new Error(message), event.routeKey);
    }
    if (outcome.kind === "answered" && event.kind === "message" && !(outcome.body && isUtf8(outcome.body))) {
      const problem = outcome.body ? "is not UTF-8" : "is larger than 128 KB";
      const message = `The answer ${problem}, so it cannot be sent as a message. Change the answer of the backend.`;
      report(new Error(message), event.routeKey);
    }
    return outcome;
  }

  #recordRejection(
    request: IncomingMessage,
    stage: Stage | undefined,
    status: number,
    connectionId?: string,
  ): void {
    this.#context.recorder?.addRejectedUpgrade({
      request,
      status,
      stage,
      connectionId,
      at: this.#settings.clock.now(),
    });
  }

  #reportEvent(event: GatewayEvent, outcome: Outcome, tookMs: number): void {
    const { onEvent } = this.#settings;
    if (!onEvent) return;
    try {
      onEvent(handledEvent(event, outcome, tookMs));
    } catch (error) {
      this.#context.report(error, "onEvent");
    }
  }
}
