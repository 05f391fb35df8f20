import type { Decision } from "../audit/decision.ts";
import type { CallableNames, InputOf, OutputOf } from "../protocol/contract.ts";
import type { CallAnswer } from "../protocol/frames.ts";

/** A frame that the server pushed. */
export type PushedFrame = Readonly<Record<string, unknown>>;

/** Handlers of a view, each as a function: typed in and out by its class. */
export type TestCalls<View> = {
  readonly [Name in CallableNames<View>]: (
    ...body: undefined extends InputOf<View[Name]>
      ? [body?: InputOf<View[Name]>]
      : [body: InputOf<View[Name]>]
  ) => Promise<OutputOf<View[Name]>>;
};

/** A refused call or connect, with the reasons that the peer would not be told. */
export class DeniedError extends Error {
  override readonly name = "DeniedError";
  readonly status: number;
  readonly reference: string;
  /** What was decided and why; undefined where it was no refusal but a failure. */
  readonly decision: Decision | undefined;

  constructor(what: string, status: number, reference: string, decision: Decision | undefined) {
    super(`${what} was refused with ${status}: ${decision?.message ?? "no decision is kept of it"}`);
    this.status = status;
    this.reference = reference;
    this.decision = decision;
  }
}

/** What a socket needs of the harness that it is connected through. */
export interface Wire {
  /** Sends a message as the gateway would; gives the status and the body. */
  message(connectionId: string, body: string): Promise<{ status: number; body: unknown }>;
  disconnect(connectionId: string): Promise<void>;
  why(reference: string): Promise<Decision | undefined>;
}

/** A connected socket of a user, without a network. */
export class TestSocket<View = unknown> {
  /** The app's id of the user, or null for somebody who has not signed in. */
  readonly user: string | null;
  readonly connectionId: string;
  /** Everything that the server pushed, in order. */
  readonly received: PushedFrame[] = [];
  /** Calls by handler: `await ann.call.send_message({ message: "hi" })`. A refusal throws a {@link DeniedError}. */
  readonly call: TestCalls<View>;
  readonly #wire: Wire;
  #calls = 0;
  #isClosed = false;

  constructor(user: string | null, connectionId: string, wire: Wire) {
    this.user = user;
    this.connectionId = connectionId;
    this.#wire = wire;
    this.call = new Proxy({} as TestCalls<View>, {
      // A promise that is resolved with `call` must not take it for another promise.
      get: (_target, name) =>
        typeof name === "string" && name !== "then" ? (body?: object) => this.#call(name, body) : undefined,
    });
  }

  /** True after the server or {@link close} ended it. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends a message as it is, without waiting for a call's answer: gives the HTTP status and body. */
  send(message: unknown): Promise<{ status: number; body: unknown }> {
    this.#demandOpen("send()");
    return this.#wire.message(
      this.connectionId,
      typeof message === "string" ? message : JSON.stringify(message),
    );
  }

  /** The first pushed frame of a type. @throws Error when there is none */
  message(type: string): PushedFrame {
    const found = this.received.find((frame) => frame.type === type);
    if (found) return found;
    throw new Error(`No message of type "${type}" was pushed. Received: ${JSON.stringify(this.received)}`);
  }

  /**
   * Calls a handler that must be refused by the gate, with 403.
   *
   * @returns the decision, so that a test can say why
   * @throws Error when it was allowed, or refused for another cause such as a bad body
   */
  async expectDenied<Name extends CallableNames<View>>(
    handler: Name,
    ...body: unknown extends View ? [body?: object] : [body?: InputOf<View[Name]>]
  ): Promise<Decision> {
    try {
      const result = await this.#call(handler, body[0] as object | undefined);
      throw new Error(
        `${handler} was to be denied to ${this.user ?? "nobody"}, but it was allowed and gave ${JSON.stringify(result)}.`,
      );
    } catch (error) {
      return deniedDecision(error, handler);
    }
  }

  /** Closes the socket, as a page that is left does. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#wire.disconnect(this.connectionId);
  }

  /** For the harness: the server ended it. */
  ended(): void {
    this.#isClosed = true;
  }

  async #call(handler: string, body: object | undefined): Promise<never> {
    this.#demandOpen(handler);
    const id = ++this.#calls;
    const { status, body: answer } = await this.#wire.message(
      this.connectionId,
      JSON.stringify({ ...body, handler, id }),
    );
    const call = answer as CallAnswer;
    if (call.ok && call.id === id) return call.result as never;
    const { reference = "" } = call as { reference?: string };
    const decision = await this.#wire.why(reference);
    throw new DeniedError(handler, call.id === id ? call.status : status, reference, decision);
  }

  #demandOpen(what: string): void {
    if (this.#isClosed) throw new Error(`${what}: the socket of ${this.user ?? "nobody"} is closed.`);
  }
}

/** What an attempt that must be denied came to. @throws Error unless it was a refusal with 403 */
export function deniedDecision(error: unknown, what: string): Decision {
  if (!(error instanceof DeniedError)) throw error;
  if (error.status === 403 && error.decision) return error.decision;
  throw new Error(
    `${what} was to be denied with 403, but it was refused with ${error.status}: ${error.decision?.message ?? "see the harness's errors"}`,
  );
}
