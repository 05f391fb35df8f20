import { randomUUID } from "node:crypto";
import type { GatewayRegistration } from "../../../src/auth/gateways.ts";
import { CHANNEL, VIEW_PATH } from "../names.ts";
import { sallyport, smoke } from "./app.ts";
import { lastPost } from "./probe.ts";

/** What the run asks the function to do. Only callers with permission to invoke it can send one. */
export type Command =
  /** Creates the tables and registers the gateway. */
  | { readonly kind: "prepare"; readonly gateway: GatewayRegistration; readonly users: readonly string[] }
  | { readonly kind: "revoke"; readonly user: string }
  /** Sends to the channel. */
  | { readonly kind: "send"; readonly text: string }
  /** Returns the recorded events. */
  | { readonly kind: "events" };

/** What the function returns for a command. */
export interface CommandResult {
  /** Identifies the instance of the function. Another instance has another database. */
  readonly instance: string;
  readonly events: readonly RecordedEvent[];
  /** The number of all `$disconnect` events so far. */
  readonly disconnects: number;
  /** The status of the last post of a probe. */
  readonly lastPost?: string | undefined;
  readonly report?: unknown;
}

/** An event as the function received it. */
export interface RecordedEvent {
  readonly [name: string]: unknown;
  readonly requestContext: Readonly<Record<string, unknown>> & {
    readonly eventType?: string;
    readonly routeKey?: string;
    readonly connectionId?: string;
  };
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const INSTANCE = randomUUID();
/** Maximum number of recorded events, so that the result of an invocation stays below 6 MB. */
const MAX_EVENTS = 300;
const MAX_BODY = 500;
const events: RecordedEvent[] = [];
let disconnects = 0;

/** Records an event, with the beginning of its body. */
export function record(event: RecordedEvent): void {
  events.push(event.body === undefined ? event : { ...event, body: event.body.slice(0, MAX_BODY) });
  if (events.length > MAX_EVENTS) events.shift();
  if (event.requestContext.eventType === "DISCONNECT" || event.rawPath === `${VIEW_PATH}/disconnect`)
    disconnects++;
}

/** Performs a command. */
export async function perform(command: Command): Promise<CommandResult> {
  const report = await run(command);
  return { instance: INSTANCE, events, disconnects, lastPost, report };
}

async function run(command: Command): Promise<unknown> {
  switch (command.kind) {
    case "prepare":
      await sallyport.migrate();
      await sallyport.registerGateway(command.gateway);
      for (const user of command.users) await sallyport.access.grant(user, smoke.use);
      return undefined;
    case "revoke":
      return sallyport.access.revoke(command.user, smoke.use);
    case "send":
      return sallyport.to({ channel: CHANNEL }).send({ type: "said", text: command.text });
    case "events":
      return undefined;
  }
}
