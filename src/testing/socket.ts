import type { Decision } from "../audit/decision.ts";
import type { CallableNames, InputOf, OutputOf } from "../protocol/contract.ts";
import type { CallAnswer } from "../protocol/frames.ts";

/** A message that the server pushed. */
export type PushedFrame = Readonly<Record<string, unknown>>;

/** The handlers of a view as functions, with the types of the view. */
export type TestCalls<View> = {
  readonly [Name in CallableNames<View>]: (
    ...body: undefined extends InputOf<View[Name]>
      ? [body?: InputOf<View[Name]>]
      : [body: InputOf<View[Name]>]
  ) => Promise<OutputOf<View[Name]>>;
};

/** A denied or failed call or connect, with the reason that a client does not receive. */
export class DeniedError extends Error {
  override readonly name = "DeniedError";
  /** HTTP status. */
  readonly status: number;
  /** The reference that the client received. */
  readonly reference: string;
  /** The decision with its reason, or `undefined` for a failure that is not a denial. */
  readonly decision: Decision | undefined;

  constructor(what: string, status: number, reference: string, decision: Decision | undefined) {
    super(
      `${what} failed with status ${status}: ${decision?.message ?? "No decision is stored. Check errors of the test app."}`,
    );
    this.status = status;
    this.reference = reference;
    this.decision = decision;
  }
}

/** The operations of the test app that a {@link TestSocket} uses. */
export interface TestTransport {
  /** Sends a message like the gateway. Returns the status and the body. */
  message(connectionId: string, body: string): Promise<{ status: number; body: unknown }>;
  disconnect(connectionId: string): Promise<void>;
  why(reference: string): Promise<Decision | undefined>;
}

/** An open connection of a user, without a network. */
export class TestSocket<View = unknown> {
  /** User id of the app, or `null` if the client is not signed in. */
  readonly user: string | null;
  /** Connection id of API Gateway. */
  readonly connectionId: string;
  /** The messages that the server pushed, in order. */
  readonly received: PushedFrame[] = [];
  /**
   * Calls a handler: `await ann.call.send_message({ message: "hi" })`. A denied or failed call
   * throws a {@link DeniedError}.
   */
  readonly call: TestCalls<View>;
  readonly #wire: TestTransport;
  #calls = 0;
  #isClosed = false;

  constructor(user: string | null, connectionId: string, wire: TestTransport) {
    this.user = user;
    this.connectionId = connectionId;
    this.#wire = wire;
    this.call = new Proxy({} as TestCalls<View>, {
      // With a `then`, a promise that resolves to `call` would treat it as a promise.
      get: (_target, name) =>
        typeof name === "string" && name !== "then" ? (body?: object) => this.#call(name, body) : undefined,
    });
  }

  /** Whether the server or {@link close} has closed the connection. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Sends a message unchanged, without the id of a call.
   *
   * @returns the HTTP status and body
   */
  send(message: unknown): Promise<{ status: number; body: unknown }> {
    this.#requireOpen("send()");
    return this.#wire.message(
      this.connectionId,
      typeof message === "string" ? message : JSON.stringify(message),
    );
  }

  /** Returns the first pushed message of a type. @throws Error if none was received */
  message(type: string): PushedFrame {
    const found = this.received.find((frame) => frame.type === type);
    if (found) return found;
    throw new Error(
      `No message of type "${type}" was received, but ${JSON.stringify(this.received)}. Check the type.`,
    );
  }

  /**
   * Calls a handler, and requires that the call is denied with status 403.
   *
   * @returns the decision, so that a test can check the reason
   * @throws Error if the call was allowed, or failed with another status
   */
  async expectForbidden<Name extends CallableNames<View>>(
    handler: Name,
    ...body: unknown extends View ? [body?: object] : [body?: InputOf<View[Name]>]
  ): Promise<Decision> {
    try {
      const result = await this.#call(handler, body[0] as object | undefined);
      throw new Error(
        `${handler} must be denied to ${this.user ?? "an anonymous client"}, but it was allowed and returned ` +
          `${JSON.stringify(result)}. Check the rules of the handler.`,
      );
    } catch (error) {
      return deniedDecision(error, handler);
    }
  }

  /** Closes the connection, as when a user leaves the page. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#wire.disconnect(this.connectionId);
  }

  /** For the test app: the server has closed the connection. */
  ended(): void {
    this.#isClosed = true;
  }

  async #call(handler: string, body: object | undefined): Promise<never> {
    this.#requireOpen(handler);
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

  #requireOpen(what: string): void {
    if (!this.#isClosed) return;
    throw new Error(
      `${what}: the connection of ${this.user ?? "an anonymous client"} is closed. Connect again with connectAs().`,
    );
  }
}

/** Returns the decision of a denied attempt. @throws Error unless it was denied with status 403 */
export function deniedDecision(error: unknown, what: string): Decision {
  if (!(error instanceof DeniedError)) throw error;
  if (error.status === 403 && error.decision) return error.decision;
  throw new Error(
    `${what} must be denied with status 403, but it failed with status ${error.status}: ` +
      (error.decision?.message ?? "Check errors of the test app."),
  );
}
