import { setImmediate as nextTurn } from "node:timers/promises";
import { Agent } from "undici";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { DeployedIntegration } from "./apis.ts";
import type { GatewayEvent } from "./events.ts";
import { delayed, type Fate, type FaultSwitches } from "./faults.ts";
import { callFunction } from "./function-call.ts";
import { lambdaAnswer, lambdaEvent } from "./function-proxy.ts";
import { settledWithin } from "./grace.ts";
import { httpHeaders } from "./http-headers.ts";

/** What came of an integration. `body` is undefined when it was over 128 KB, which no frame could carry. */
export type Outcome =
  | {
      readonly kind: "answered";
      readonly status: number;
      readonly body: Buffer | undefined;
      /** The answer's `Sec-WebSocket-Protocol`. */
      readonly subprotocol: string | undefined;
    }
  | { readonly kind: "timed out" }
  | { readonly kind: "unreachable"; readonly error: unknown }
  /** A function threw, or gave back what is no result. */
  | { readonly kind: "failed"; readonly error: unknown };

type HttpIntegration = Extract<DeployedIntegration, { type: "HTTP_PROXY" }>;
type FunctionIntegration = Extract<DeployedIntegration, { type: "AWS_PROXY" }>;

/** Runs integrations: one call per event, never repeated. */
export class Integrations {
  /** As many sockets as there are events under way: one client's must not wait for another's. */
  readonly #agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  readonly #running = new Set<Promise<Outcome>>();
  readonly #faults: FaultSwitches;
  #turn = 0;
  #closed = false;

  constructor(faults: FaultSwitches) {
    this.#faults = faults;
  }

  /** Never rejects. Where nothing goes wrong, the request has been handed to the HTTP client when this returns its promise. */
  async run(event: GatewayEvent, integration: DeployedIntegration): Promise<Outcome> {
    if (this.#closed) return { kind: "unreachable", error: new Error("The local gateway is closed.") };
    const fate = this.#faults.fateOf(event);
    const running =
      fate.delayMs > 0 || fate.isDropped
        ? this.#held(event, integration, fate)
        : this.#call(event, integration, fate);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Runs nothing new, waits up to `graceMs` for what is running, then cuts it. */
  async close(graceMs: number): Promise<void> {
    const deadline = Date.now() + graceMs;
    while (this.#running.size > 0 && Date.now() < deadline) {
      await settledWithin([...this.#running], deadline - Date.now());
      // What has just been answered may start a $disconnect.
      await nextTurn();
    }
    this.#closed = true;
    await this.#agent.destroy();
  }

  async #held(event: GatewayEvent, integration: DeployedIntegration, fate: Fate): Promise<Outcome> {
    await delayed(fate.delayMs);
    if (!fate.isDropped) return this.#call(event, integration, fate);
    // Nobody waits for what a `$disconnect` is answered.
    if (event.kind !== "disconnect") await delayed(integration.timeoutMs);
    return { kind: "timed out" };
  }

  #call(
    event: GatewayEvent,
    integration: DeployedIntegration,
    { isDoubled, isJoined }: Fate,
  ): Promise<Outcome> {
    const call = () =>
      integration.type === "HTTP_PROXY"
        ? this.#deliver(event, integration, isJoined)
        : invoke(event, integration);
    const answer = call();
    if (isDoubled) void call();
    return answer;
  }

  /** To the next URI whose turn it is. One that refused the connection has seen nothing of the event. */
  async #deliver(event: GatewayEvent, integration: HttpIntegration, isJoined: boolean): Promise<Outcome> {
    const { uris } = integration;
    const first = this.#turn++;
    for (let tried = 1; ; tried++) {
      const url = urlOf(event, uris[(first + tried) % uris.length] ?? "", integration);
      const outcome: Outcome =
        url === undefined
          ? { kind: "unreachable", error: new Error("The stage has no variable that the URL names.") }
          : await this.#send(event, url, integration, isJoined);
      const isRefused = outcome.kind === "unreachable" && codeOf(outcome.error) === "ECONNREFUSED";
      if (!isRefused || tried === uris.length) return outcome;
    }
  }

  async #send(
    event: GatewayEvent,
    url: URL,
    { method, parameters, timeoutMs }: HttpIntegration,
    isJoined: boolean,
  ): Promise<Outcome> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), timeoutMs);
    try {
      const answer = await this.#agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: method as "POST",
        headers: httpHeaders(event, parameters, isJoined),
        body: event.kind === "message" ? event.body : null,
        signal: abort.signal,
      });
      const offered = answer.headers["sec-websocket-protocol"];
      return {
        kind: "answered",
        status: answer.statusCode,
        body: await readAtMost(answer.body, MAX_MESSAGE_BYTES),
        subprotocol: Array.isArray(offered) ? offered[0] : offered,
      };
    } catch (error) {
      return abort.signal.aborted ? { kind: "timed out" } : { kind: "unreachable", error };
    } finally {
      clearTimeout(timer);
    }
  }
}

async function invoke(event: GatewayEvent, { handler, timeoutMs }: FunctionIntegration): Promise<Outcome> {
  const called = await callFunction(handler, lambdaEvent(event), { requestId: event.requestId, timeoutMs });
  if (called.kind !== "returned") return called;
  const answer = lambdaAnswer(called.result);
  if (!answer) return { kind: "failed", error: new Error("The function's result is malformed.") };
  const { status, body, subprotocol } = answer;
  const isTooLong = body.length > MAX_MESSAGE_BYTES;
  return { kind: "answered", status, body: isTooLong ? undefined : body, subprotocol };
}

/** @returns undefined where a stage variable is missing */
function urlOf(event: GatewayEvent, uri: string, { parameters }: HttpIntegration): URL | undefined {
  let isComplete = true;
  const filled = uri.replace(/\$\{stageVariables\.([A-Za-z0-9_]+)\}/g, (_, name: string) => {
    const value = event.place.stageVariables[name];
    if (value === undefined) isComplete = false;
    return value ?? "";
  });
  if (!isComplete) return undefined;
  let text = filled;
  for (const { name, source } of parameters.path)
    text = text.replaceAll(`{${name}}`, encodeURIComponent(source(event) ?? ""));
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const queries = [url.search.slice(1), event.kind === "connect" ? event.client.query : ""];
  for (const { name, source } of parameters.query) {
    const value = source(event);
    if (value !== undefined) queries.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  }
  const query = queries.filter(Boolean).join("&");
  // Only where there is something to say: as it came, unescaped and in its order.
  if (query !== "") url.search = query;
  return url;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}

async function readAtMost(body: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
