import { setImmediate as nextTurn } from "node:timers/promises";
import { Agent } from "undici";
import { ConfigurationError } from "../errors.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { DeployedIntegration } from "./apis.ts";
import { BackendConnections } from "./backend-connections.ts";
import type { GatewayEvent } from "./events.ts";
import { delayed, type FaultPlan, type FaultSwitches } from "./faults.ts";
import { callFunction } from "./function-call.ts";
import { lambdaEvent } from "./function-event.ts";
import { functionAnswer } from "./function-result.ts";
import { httpHeaders } from "./http-headers.ts";
import { httpUrl } from "./http-url.ts";
import { settledWithin } from "./settled-within.ts";

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

/** @throws ConfigurationError on a runtime that replaces undici with classes that send nothing, such as Bun */
export function checkHttpClient(): void {
  if (typeof Agent.prototype.request === "function") return;
  throw new ConfigurationError(
    "The local gateway calls backends with the package undici, which this runtime replaces with one that sends nothing. " +
      "Run the gateway on Node.js in a process of its own. The app itself can run on this runtime.",
  );
}

/** Runs integrations: one call per event, as {@link BackendConnections} sends it. */
export class Integrations {
  readonly #backends = new BackendConnections();
  readonly #running = new Set<Promise<Outcome>>();
  readonly #faults: FaultSwitches;
  readonly #closing = new AbortController();
  #turn = 0;

  constructor(faults: FaultSwitches) {
    this.#faults = faults;
  }

  /** Never rejects. Where nothing goes wrong, the request has been handed to the HTTP client when this returns its promise. */
  async run(event: GatewayEvent, integration: DeployedIntegration): Promise<Outcome> {
    const running = this.#carry(event, integration).catch(unreachable);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Runs nothing new, waits up to `graceMs` for what is running, then cuts it. */
  async close(graceMs: number): Promise<void> {
    const deadline = performance.now() + graceMs;
    while (this.#running.size > 0 && performance.now() < deadline) {
      await settledWithin([...this.#running], deadline - performance.now());
      // What has just been answered may start a $disconnect.
      await nextTurn();
    }
    this.#closing.abort();
    await this.#backends.destroy();
  }

  /** Takes an event to its integration, through whatever goes wrong on the way. */
  async #carry(event: GatewayEvent, integration: DeployedIntegration): Promise<Outcome> {
    const { signal } = this.#closing;
    const fate = this.#faults.fateOf(event);
    if (fate.delayMs > 0) await delayed(fate.delayMs, signal);
    if (signal.aborted) return unreachable(new Error("The local gateway is closed."));
    if (!fate.isDropped) return this.#call(event, integration, fate);
    // Nobody waits for what a `$disconnect` is answered.
    if (event.kind !== "disconnect") await delayed(integration.timeoutMs, signal);
    return { kind: "timed out" };
  }

  #call(
    event: GatewayEvent,
    integration: DeployedIntegration,
    { isDoubled, isJoined }: FaultPlan,
  ): Promise<Outcome> {
    const call = () =>
      integration.type === "HTTP_PROXY"
        ? this.#deliver(event, integration, isJoined)
        : invoke(event, integration);
    const answer = call();
    if (isDoubled) call().catch(unreachable);
    return answer;
  }

  /** To the next URI whose turn it is. One that refused the connection has seen nothing of the event. */
  async #deliver(event: GatewayEvent, integration: HttpIntegration, isJoined: boolean): Promise<Outcome> {
    const { uris } = integration;
    const first = this.#turn++;
    for (let tried = 1; ; tried++) {
      const url = httpUrl(event, uris[(first + tried) % uris.length] ?? "", integration.parameters);
      const outcome = await this.#send(event, url, integration, isJoined);
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
      const request = {
        path: url.pathname + url.search,
        method,
        headers: httpHeaders(event, parameters, isJoined),
        body: event.kind === "message" ? event.body : null,
        signal: abort.signal,
      };
      const { status, headers, body } = await this.#backends.request(url.origin, request, (answer) =>
        readAtMost(answer, MAX_MESSAGE_BYTES),
      );
      const offered = headers["sec-websocket-protocol"];
      return {
        kind: "answered",
        status,
        body,
        subprotocol: Array.isArray(offered) ? offered[0] : offered,
      };
    } catch (error) {
      return abort.signal.aborted ? { kind: "timed out" } : unreachable(error);
    } finally {
      clearTimeout(timer);
    }
  }
}

function unreachable(error: unknown): Outcome {
  return { kind: "unreachable", error };
}

async function invoke(event: GatewayEvent, { handler, timeoutMs }: FunctionIntegration): Promise<Outcome> {
  const called = await callFunction(handler, lambdaEvent(event), { requestId: event.requestId, timeoutMs });
  if (called.kind !== "returned") return called;
  const answer = functionAnswer(called.result);
  if (!answer) return { kind: "failed", error: new Error("The function's result is malformed.") };
  const { status, body, subprotocol } = answer;
  const isTooLong = body.length > MAX_MESSAGE_BYTES;
  return { kind: "answered", status, body: isTooLong ? undefined : body, subprotocol };
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
