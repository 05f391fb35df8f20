import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { DecisionContext } from "../audit/decision.ts";
import { requireRule, runAuthorize } from "../auth/authorize.ts";
import type { Gateway } from "../auth/gateways.ts";
import type { MessageInFlight } from "../auth/messages-in-flight.ts";
import type { ConnectionRow, ConnectionWithChannels } from "../connections/connections.ts";
import type { ShouldSend } from "../delivery/delivery.ts";
import { malformed, RefusedError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { readJsonText } from "../protocol/body.ts";
import { PING_TYPE } from "../protocol/frames.ts";
import { connectedAt, type MessageCall } from "../protocol/gateway-call.ts";
import type { HttpCall } from "../protocol/http-call.ts";
import { numberSource } from "../protocol/json-source.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { Services } from "../services.ts";
import type { HandlerAuthorizeContext } from "../views/handler.ts";
import type { MountedHandler, MountedView } from "../views/mount.ts";
import { userOf } from "../views/user.ts";
import { LiveConnection, messageContext, permittedChannels } from "./context.ts";

/** Complaints of a schema that are passed on: a hostile message can cause one for each of its bytes. */
const MAX_ISSUES = 5;

/** How often a message is checked again because changes keep concerning its connection, before it is denied. */
const MAX_CHECKS = 20;

/** What is known of a message before anything was decided about its session. */
export interface Envelope {
  gateway?: Gateway;
  /** Counts the message until its answer was sent. */
  inFlight?: MessageInFlight;
  /** Whose the answer is, once the session has been found. */
  recipient?: ConnectionRow;
  /** HTTP status that a refusal has, however it is answered. */
  status?: number;
  /** Whether the answer may still go out, where it has to wait for its turn. */
  stillPermitted?: ShouldSend;
}

/**
 * A message from an open socket, from the gateway's call to the handler's answer.
 *
 * Guards, in the order that is the security design: caller, size and form, messages in flight, session with its user's state and
 * rights in one statement, limits of connection and user, view's rule, answer to a ping, handler, handler's rule, handler's limits, schema, `authorize`.
 *
 * @returns what the handler returned
 * @throws RefusedError
 */
export async function message(
  services: Services,
  view: MountedView,
  call: MessageCall,
  http: HttpCall,
  context: DecisionContext,
  envelope: Envelope,
): Promise<unknown> {
  const gateway =
    services.gatewayAuthenticator.find(call) ?? (await caller(services, call, http, context, envelope));
  envelope.gateway = gateway;
  context.gateway = gateway.name;
  const json = await readJsonText(http, MAX_MESSAGE_BYTES);
  if (json === undefined) throw malformed("The message is empty.");
  const frame = json.value;
  if ("id" in frame) context.callId = callId(frame.id, json.text);

  const inFlight = services.messagesInFlight.enter(gateway.id, call.connectionId);
  envelope.inFlight = inFlight;
  let judgedAt = services.changedSubjects.now();
  const connection = await liveSession(services, gateway, call, http);
  context.connectionKey = connection.id;
  if (connection.userId !== null) context.userId = connection.userId;
  if (connection.sessionId !== null) context.sessionId = connection.sessionId;
  inFlight.countFor(connection.userId);
  services.messageLimits.take(view.path, connection);
  services.activity.touch(connection.id);

  requireRule(context, view.name, view.rule, connection);
  if (isPing(view, frame)) return undefined;
  const handler = handlerFor(view, frame, context);
  const what = `${view.name}.${handler.name}`;
  requireRule(context, what, handler.rule, connection);
  services.messageLimits.takeCall(view.path, handler, connection);
  const payload = payloadOf(view, frame);
  const body = handler.schema ? await checkedBody(handler.name, handler.schema, payload) : payload;
  const user = userOf(connection, services.permissions, context);
  const live = new LiveConnection(connection, gateway.name, permittedChannels(services, connection));
  if (handler.authorize) await authorized(handler, what, { user, connection: live, body }, context);

  /** Checks everything again if a change since the last check concerns the connection: hooks and handlers take their time. */
  let judged: ConnectionWithChannels = connection;
  const isStale = () => services.changedSubjects.isStale(judged, judgedAt);
  const rejudge = async () => {
    for (let attempt = 1; isStale(); attempt++) {
      if (attempt > MAX_CHECKS) throw unstable(what);
      judgedAt = services.changedSubjects.now();
      const now = await liveSession(services, gateway, call);
      // A later change of a group concerns those who hold permissions through it by then.
      judged = now;
      requireRule(context, view.name, view.rule, now);
      requireRule(context, what, handler.rule, now);
      const asker = userOf(now, services.permissions, context);
      await authorized(handler, what, { user: asker, connection: live, body }, context);
    }
  };
  envelope.recipient = connection;
  envelope.stillPermitted = () => (isStale() ? rejudge().then(() => true, isNotRefused) : true);

  if (isStale()) await rejudge();
  if (services.telemetry) context.gateMs = performance.now() - context.startedAt;
  let ended = () => {};
  const untilEnded = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const handlerContext = messageContext(services, connection, live, user, body, context, untilEnded);
  let result: unknown;
  try {
    result = await handler.run(handlerContext);
  } catch (error) {
    await rejudge().catch((denial: unknown) => {
      if (!(error instanceof RefusedError)) services.onError(error, what);
      throw denial;
    });
    throw error;
  } finally {
    ended();
  }
  // The result may be sent only to a user who still has the permission.
  if (isStale()) await rejudge();
  return result;
}

function unstable(what: string): RefusedError {
  return new RefusedError(
    `${what} was checked ${MAX_CHECKS} times, and each time the permissions of the user or the data of a channel changed meanwhile.`,
    { reason: "unstable" },
  );
}

/**
 * Returns the gateway of a call. While the database cannot list the gateways, no message is accepted. The answer still contains the id of
 * the call, because the client would otherwise wait until its time-out. The answer contains no other data, because the caller is not verified.
 *
 * @throws RefusedError when the caller is not one of our gateways
 */
async function caller(
  services: Services,
  call: MessageCall,
  http: HttpCall,
  context: DecisionContext,
  envelope: Envelope,
): Promise<Gateway> {
  try {
    return await services.gatewayAuthenticator.check(call);
  } catch (error) {
    if (error instanceof RefusedError) throw error;
    const gateway = services.gatewayAuthenticator.lastKnown(call);
    if (gateway) envelope.gateway = gateway;
    const json = await readJsonText(http, MAX_MESSAGE_BYTES).catch(() => undefined);
    if (json && "id" in json.value) context.callId = knownCallId(json.value.id, json.text);
    throw error;
  }
}

/** The id of a call, or undefined for one that an answer cannot repeat. */
function knownCallId(id: unknown, json: string): string | number | undefined {
  try {
    return callId(id, json);
  } catch {
    return undefined;
  }
}

/** @throws RefusedError unless the handler's own hook, where it has one, says `true` */
async function authorized(
  { authorize }: MountedHandler,
  what: string,
  handlerContext: HandlerAuthorizeContext,
  context: DecisionContext,
): Promise<void> {
  if (authorize) await runAuthorize(context, `authorize of ${what}`, () => authorize(handlerContext));
}

/** A refusal is a no; anything else is somebody's to hear. */
function isNotRefused(error: unknown): false {
  if (error instanceof RefusedError) return false;
  throw error;
}

/** @param http the event, for its first look only: a connection that has no row then is closed, so that its client reconnects */
async function liveSession(
  services: Services,
  gateway: Gateway,
  call: MessageCall,
  http?: HttpCall,
): Promise<ConnectionWithChannels> {
  const found = services.connections.find(gateway.id, call.connectionId);
  const connection = found instanceof Promise ? await found : found;
  if (connection) return connection;
  if (http && services.gatewayAuthenticator.proves(call)) {
    services.orphanedConnections.close(gateway, call.connectionId, connectedAt(http));
  }
  throw new RefusedError("No open session has this connection id: it was closed, or never opened.", {
    reason: "connection",
  });
}

/**
 * Returns whether the message is the ping of a client that checks its connection. A field with the name of a handler makes it a
 * message of the app, whatever its `type`.
 */
function isPing(view: MountedView, frame: Readonly<Record<string, unknown>>): boolean {
  return frame.type === PING_TYPE && !Object.hasOwn(frame, view.handlerKey);
}

/** The handler that the message names: by `handlerKey`, or failing that by `routeKey`. */
function handlerFor(
  view: MountedView,
  frame: Readonly<Record<string, unknown>>,
  context: DecisionContext,
): MountedHandler {
  const key = Object.hasOwn(frame, view.handlerKey) ? view.handlerKey : view.routeKey;
  if (!Object.hasOwn(frame, key)) {
    throw malformed(
      `The message names no handler: it has neither "${view.handlerKey}" nor "${view.routeKey}".`,
    );
  }
  const name = frame[key];
  if (typeof name !== "string")
    throw malformed(`"${key}" must be the name of a handler, not ${typeof name}.`);
  context.handler = name.slice(0, 200);
  const handler = view.handlers.get(name);
  if (!handler) {
    const declared = [...view.handlers.keys()].join(", ") || "none";
    throw new RefusedError(
      `${view.name} has no handler ${JSON.stringify(context.handler)} that a socket may call. It has: ${declared}.`,
      { reason: "handler" },
    );
  }
  return handler;
}

/** The message's own fields, without what only says where they go. */
function payloadOf(view: MountedView, frame: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const payload: Record<string, unknown> = {};
  for (const key of Object.keys(frame)) {
    if (key === "id" || key === view.handlerKey || key === view.routeKey) continue;
    // A key such as __proto__ is a peer's word like any other.
    if (key in payload) Object.defineProperty(payload, key, { value: frame[key], ...PLAIN });
    else payload[key] = frame[key];
  }
  return payload;
}

const PLAIN = { writable: true, enumerable: true, configurable: true };

async function checkedBody(name: string, schema: StandardSchemaV1, payload: unknown): Promise<unknown> {
  const result = await schema["~standard"].validate(payload);
  if (!result.issues) return result.value;
  const issues = result.issues.slice(0, MAX_ISSUES);
  const words = issues.map((issue) => issue.message.slice(0, 200)).join(" ");
  const places = issues.map((issue) => issue.path?.map(placeName).join(".") || "body").join(", ");
  const why = `The message does not fit the schema of ${name} at ${places.slice(0, 500)}: ${words}`;
  throw new RefusedError(why, { reason: "invalid", status: 400, reply: words });
}

function placeName(part: PropertyKey | StandardSchemaV1.PathSegment): string {
  return String(typeof part === "object" ? part.key : part);
}

/** Longest text that is the id of a call, in characters. */
const MAX_CALL_ID = 128;

/**
 * Checks the id of a call. The answer repeats it, so a number that would be written differently there is rejected.
 *
 * @param json the message as it arrived
 * @throws RefusedError with 400
 */
function callId(id: unknown, json: string): string | number {
  if (typeof id === "string" && id.length <= MAX_CALL_ID) return id;
  if (typeof id === "number") {
    const source = numberSource(json, "id");
    if (Math.abs(id) <= Number.MAX_SAFE_INTEGER && String(id) === source) return id;
    throw badCallId(`${source?.slice(0, MAX_CALL_ID)}, which the answer could not repeat exactly`);
  }
  throw badCallId(typeof id === "string" ? `a text of ${id.length} characters` : formatValue(id));
}

function badCallId(given: string): RefusedError {
  const rule =
    `The id of a call must be text of at most ${MAX_CALL_ID} characters, or a number from -(2^53 - 1) to 2^53 - 1 in its ` +
    "shortest form. Use text for anything else.";
  return malformed(`The id of the call is ${given}. ${rule}`, rule);
}
