import { setImmediate as nextTurn } from "node:timers/promises";
import { Agent } from "undici";
import { ConfigurationError } from "../errors.ts";
import { callFunction } from "../protocol/function-call.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import { waitAtMost } from "../timing.ts";
import type { DeployedIntegration } from "./apis.ts";
import { BackendConnections } from "./backend-connections.ts";
import type { CallObserver } from "./call-observer.ts";
import type { GatewayEvent } from "./events.ts";
import { delayed, type FaultPlan, type FaultSwitches } from "./faults.ts";
import { lambdaEvent } from "./function-event.ts";
import { functionAnswer } from "./function-result.ts";
import { httpHeaders } from "./http-headers.ts";
import { httpUrl } from "./http-url.ts";

/** The outcome of an integration. `body` is undefined if it was larger than 128 KB. */
export type Outcome =
  | {
      readonly kind: "answered";
      readonly status: number;
      readonly body: Buffer | undefined;
      /** The value of `Sec-WebSocket-Protocol` in the answer. */
      readonly subprotocol: string | undefined;
    }
  | { readonly kind: "timed out" }
  | { readonly kind: "unreachable"; readonly error: unknown }
  /** A function threw, or returned an invalid result. */
  | { readonly kind: "failed"; readonly error: unknown };

type HttpIntegration = Extract<DeployedIntegration, { type: "HTTP_PROXY" }>;
type FunctionIntegration = Extract<DeployedIntegration, { type: "AWS_PROXY" }>;

/** @throws ConfigurationError on a runtime such as Bun, which replaces undici with stubs */
export function checkHttpClient(): void {
  if (typeof Agent.prototype.request === "function") return;
  throw new ConfigurationError(
    "The local gateway calls backends with the package undici, which this runtime replaces with one that sends nothing. " +
      "The app itself can run on this runtime. Run the gateway on Node.js in a separate process.",
  );
}

/** Runs integrations, with one call for each event. */
export class Integrations {
  readonly #backends = new BackendConnections();
  readonly #running = new Set<Promise<Outcome>>();
  readonly #faults: FaultSwitches;
  readonly #closing = new AbortController();
  #nextUri = 0;

  constructor(faults: FaultSwitches) {
    this.#faults = faults;
  }

  /**
   * Runs the integration of an event. The promise never rejects. Without faults, the request is
   * passed to the HTTP client before this method returns.
   *
   * @param observer receives the request and the answer. Default: none
   */
  async run(
    event: GatewayEvent,
    integration: DeployedIntegration,
    observer?: CallObserver,
  ): Promise<Outcome> {
    const running = this.#runWithFaults(event, integration, observer).catch(unreachable);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Whether no integration runs anymore, because the gateway has closed. */
  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Waits up to `graceMs` milliseconds for running integrations, and then aborts them. */
  async close(graceMs: number): Promise<void> {
    const deadline = performance.now() + graceMs;
    while (this.#running.size > 0 && performance.now() < deadline) {
      await waitAtMost(deadline - performance.now(), Promise.allSettled(this.#running));
      // An answer can start a $disconnect.
      await nextTurn();
    }
    this.#closing.abort();
    await this.#backends.destroy();
  }

  /** Calls the integration of an event, with the simulated faults. */
  async #runWithFaults(
    event: GatewayEvent,
    integration: DeployedIntegration,
    observer: CallObserver | undefined,
  ): Promise<Outcome> {
    const { signal } = this.#closing;
    const plan = this.#faults.fateOf(event);
    observer?.planned(plan);
    if (plan.delayMs > 0) await delayed(plan.delayMs, signal);
    if (signal.aborted)
      return unreachable(new Error("The local gateway is closed. Start it again to run integrations."));
    if (!plan.isDropped) return this.#call(event, integration, plan, observer);
    // The answer to a `$disconnect` is not used, so there is no timeout to wait for.
    if (event.kind !== "disconnect") await delayed(integration.timeoutMs, signal);
    return { kind: "timed out" };
  }

  #call(
    event: GatewayEvent,
    integration: DeployedIntegration,
    { isDoubled, isJoined }: FaultPlan,
    observer: CallObserver | undefined,
  ): Promise<Outcome> {
    const call = (observer?: CallObserver) =>
      integration.type === "HTTP_PROXY"
        ? this.#callBackend(event, integration, isJoined, observer)
        : invoke(event, integration, observer);
    const answer = call(observer);
    // The answer to the second call is not used, so it is not observed either.
    if (isDoubled) call().catch(unreachable);
    return answer;
  }

  /** Calls the next backend in turn. One that refused the connection did not receive the event. */
  async #callBackend(
    event: GatewayEvent,
    integration: HttpIntegration,
    isJoined: boolean,
    observer: CallObserver | undefined,
  ): Promise<Outcome> {
    const { uris } = integration;
    const first = this.#nextUri++;
    for (let tried = 1; ; tried++) {
      const url = httpUrl(event, uris[(first + tried) % uris.length] ?? "", integration.parameters);
      const outcome = await this.#send(event, url, integration, isJoined, observer);
      const isRefused = outcome.kind === "unreachable" && codeOf(outcome.error) === "ECONNREFUSED";
      if (!isRefused || tried === uris.length) return outcome;
    }
  }

  async #send(
    event: GatewayEvent,
    url: URL,
    { method, parameters, timeoutMs }: HttpIntegration,
    isJoined: boolean,
    observer: CallObserver | undefined,
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
      observer?.sent({ kind: "http", method, url, headers: request.headers, body: request.body });
      const { status, headers, body } = await this.#backends.request(url.origin, request, (answer) =>
        readAtMost(answer, MAX_MESSAGE_BYTES),
      );
      observer?.received({ kind: "http", headers });
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

async function invoke(
  event: GatewayEvent,
  { handler, timeoutMs }: FunctionIntegration,
  observer: CallObserver | undefined,
): Promise<Outcome> {
  const input = lambdaEvent(event);
  observer?.sent({ kind: "function", event: input });
  const outcome = await callFunction(handler, input, { requestId: event.requestId, timeoutMs });
  if (outcome.kind !== "returned") return outcome;
  observer?.received({ kind: "function", result: outcome.result });
  const answer = functionAnswer(outcome.result);
  if (!answer) {
    const error = new Error("The result of the function is malformed. Return { statusCode, body }.");
    return { kind: "failed", error };
  }
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
