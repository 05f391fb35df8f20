import type { HealthCheck } from "../admin/health.ts";
import { createDecisionContext } from "../audit/decision.ts";
import { handleConnect } from "../events/connect.ts";
import { handleDisconnect } from "../events/disconnect.ts";
import type { ConnectEvent, DisconnectEvent, EventContext, MessageEvent } from "../events/event-context.ts";
import { handleMessage } from "../events/message.ts";
import type { PendingDisconnects } from "../events/pending-disconnects.ts";
import { denialOf, reply, sampleAllowed } from "../events/response.ts";
import { issueToken } from "../events/token.ts";
import { decodeGatewayCall } from "../protocol/gateway-call.ts";
import { type HttpRequest, type HttpResponse, TOKEN_METHODS } from "../protocol/http.ts";
import type { EventServices } from "../services.ts";
import type { MountedView } from "../views/mount.ts";
import { corsHeaders } from "./cors.ts";

/** What requests are passed to. */
export interface Routes {
  readonly services: EventServices;
  readonly health: HealthCheck;
  readonly pendingDisconnects: PendingDisconnects;
  /** Path of the endpoint that issues tokens. */
  readonly tokenPath: string;
  /** Path of the health check. `undefined` if it is disabled. */
  readonly healthPath: string | undefined;
  /** Starts the background jobs. It is called for each token request and each event. */
  readonly start: () => void;
}

/** Passes requests to the token endpoint, the health check, or the view of an event. */
export class Router {
  readonly #routes: Routes;
  /** Number of events that wait for their response. */
  #eventsInFlight = 0;

  constructor(routes: Routes) {
    this.#routes = routes;
  }

  /** Whether any event waits for its response. */
  get isAnswering(): boolean {
    return this.#eventsInFlight > 0;
  }

  /** @returns `undefined` if the path is not Sallyport's */
  async handle(http: HttpRequest): Promise<HttpResponse | undefined> {
    const { services, tokenPath, healthPath, start } = this.#routes;
    const pathname = http.path ?? http.url.pathname;
    if (pathname === tokenPath) return this.#token(http, pathname);
    if (pathname === healthPath) return this.#health(http);
    const [, viewPath = "", route = ""] = /^(.*)\/([A-Za-z0-9_-]+)$/.exec(pathname) ?? [];
    const view = services.definitions.views.get(viewPath);
    // API Gateway sends events as POST. Other methods get the response of an unknown path, so that
    // clients cannot find out which views exist.
    if (!view || http.method !== "POST") return undefined;
    start();
    this.#eventsInFlight++;
    try {
      return await this.#event(view, pathname, route, http);
    } finally {
      this.#eventsInFlight--;
    }
  }

  /** Returns no details, because any client can call the endpoint. */
  async #health(http: HttpRequest): Promise<HttpResponse> {
    if (http.method !== "GET" && http.method !== "HEAD") return methodNotAllowed("GET, HEAD");
    const { isHealthy } = await this.#routes.health.recent();
    return reply(isHealthy ? 200 : 503, { ok: isHealthy }, { "cache-control": "no-store" });
  }

  async #token(http: HttpRequest, path: string): Promise<HttpResponse> {
    const { services, start } = this.#routes;
    const page = await services.auth.origins.decide(http.header("origin"));
    const cors = corsHeaders(page);
    if (http.method === "OPTIONS") return { status: 204, headers: cors, body: null };
    if (http.method !== "POST") return methodNotAllowed(TOKEN_METHODS);
    start();
    const decision = createDecisionContext("token", path);
    const work = async () => {
      try {
        const token = await issueToken(services, http, page, decision);
        sampleAllowed(services, decision);
        return reply(200, token, cors);
      } catch (error) {
        const { status, body, headers } = await denialOf(services, error, decision);
        return reply(status, body, { ...headers, ...cors });
      }
    };
    const { telemetry } = services.reports;
    if (!telemetry) return work();
    return telemetry.event({ kind: "token", view: undefined }, work, ({ status }) => ({ status }));
  }

  async #event(view: MountedView, path: string, route: string, http: HttpRequest): Promise<HttpResponse> {
    const kind = route === "connect" || route === "disconnect" ? route : "message";
    const decision = createDecisionContext(kind, path);
    decision.view = view.path;
    const call = decodeGatewayCall(kind, http);
    if (call.connectionId !== "") decision.connectionId = call.connectionId.slice(0, 200);
    if (call.requestId !== undefined) decision.requestId = call.requestId.slice(0, 200);
    const event: EventContext = { view, http, call, decision };
    const { telemetry } = this.#routes.services.reports;
    if (!telemetry) return this.#handle(event);
    const work = () => this.#handle(event);
    return telemetry.event({ kind, view: view.path }, work, ({ status }) => ({
      status: event.deniedStatus ?? status,
      // Before all checks have passed, the name can be any text of the client.
      handler: decision.authorizationMs === undefined ? undefined : decision.handler,
      authorizationMs: decision.authorizationMs,
      connectionId: decision.connectionId,
      requestId: decision.requestId,
    }));
  }

  #handle(event: EventContext): Promise<HttpResponse> {
    const { services, pendingDisconnects } = this.#routes;
    switch (event.call.kind) {
      case "connect":
        return handleConnect(services, event as ConnectEvent);
      case "disconnect":
        return handleDisconnect(services, event as DisconnectEvent, pendingDisconnects);
      default:
        return handleMessage(services, event as MessageEvent);
    }
  }
}

function methodNotAllowed(allow: string): HttpResponse {
  return reply(405, { ok: false, error: "Method not allowed." }, { allow });
}
