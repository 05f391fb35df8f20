import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { DecisionContext } from "../audit/decision.ts";
import { requireRule, runAuthorize } from "../auth/authorize.ts";
import type { MessageInFlight } from "../auth/messages-in-flight.ts";
import type { ShouldSend } from "../delivery/delivery.ts";
import { BadRequestError, ForbiddenError, malformedRequest, RequestError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { readJsonText } from "../protocol/body.ts";
import { PING_TYPE } from "../protocol/frames.ts";
import { connectedAt, type MessageCall } from "../protocol/gateway-call.ts";
import type { HttpCall } from "../protocol/http-call.ts";
import { numberSource } from "../protocol/json-source.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { Services } from "../services.ts";
import type { ConnectionRow, ConnectionWithChannels } from "../storage/stores/connections.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import type { HandlerAuthorizeContext } from "../views/handler.ts";
import type { MountedHandler, MountedView } from "../views/mount.ts";
import { userOf } from "../views/user.ts";
import { LiveConnection, messageContext, permittedChannels } from "./context.ts";

/** Maximum number of schema errors that are reported. A hostile message can cause one per byte. */
const MAX_ISSUES = 5;

/**
 * Maximum number of times that a message is checked again because a change affects its connection.
 */
const MAX_CHECKS = 20;

/** State of a message that is known before the connection is read, or that the answer needs. */
export interface MessageState {
  gateway?: Gateway;
  /** Counts the message as in flight until its answer was sent. */
  inFlight?: MessageInFlight;
  /** The connection that receives the answer, once its row was found. */
  recipient?: ConnectionRow;
  /** HTTP status of a denial. The HTTP response to API Gateway can have another one. */
  status?: number;
  /** Checks whether the answer may still be sent after it waited in the delivery queue. */
  shouldSend?: ShouldSend;
}

/**
 * Handles a message from an open connection.
 *
 * The order of the checks is the security design:
 *
 * - caller, size and form of the message, number of messages in flight
 * - connection with the state and permissions of its user, in one statement
 * - limits of connection and user, rule of the view
 * - answer to a ping
 * - handler, its rule and its limits, schema, `authorize`
 *
 * @returns the result of the handler
 * @throws RequestError if a check fails
 */
export async function message(
  services: Services,
  view: MountedView,
  call: MessageCall,
  http: HttpCall,
  context: DecisionContext,
  envelope: MessageState,
): Promise<unknown> {
  const gateway =
    services.gatewayAuthenticator.find(call) ??
    (await verifyGateway(services, call, http, context, envelope));
  envelope.gateway = gateway;
  context.gateway = gateway.name;
  const json = await readJsonText(http, MAX_MESSAGE_BYTES);
  if (json === undefined) throw malformedRequest("The message is empty.");
  const frame = json.value;
  if ("id" in frame) context.callId = callId(frame.id, json.text);

  const inFlight = services.messagesInFlight.enter(gateway.id, call.connectionId);
  envelope.inFlight = inFlight;
  let checkedAt = services.changedSubjects.now();
  const connection = await findOpenConnection(services, gateway, call, http);
  context.connectionKey = connection.id;
  if (connection.userId !== null) context.userId = connection.userId;
  if (connection.sessionId !== null) context.sessionId = connection.sessionId;
  inFlight.countUser(connection.userId);
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
  if (handler.authorize) await requireAuthorize(handler, what, { user, connection: live, body }, context);

  // Hooks and handlers can run for a long time. Everything is checked again if a change since the
  // last check affects the connection.
  let checked: ConnectionWithChannels = connection;
  const isStale = () => services.changedSubjects.isStale(checked, checkedAt);
  const recheck = async () => {
    for (let attempt = 1; isStale(); attempt++) {
      if (attempt > MAX_CHECKS) throw tooManyChanges(what);
      checkedAt = services.changedSubjects.now();
      const current = await findOpenConnection(services, gateway, call);
      // Whether a later change of a group affects the connection depends on these newer
      // permissions.
      checked = current;
      requireRule(context, view.name, view.rule, current);
      requireRule(context, what, handler.rule, current);
      const currentUser = userOf(current, services.permissions, context);
      await requireAuthorize(handler, what, { user: currentUser, connection: live, body }, context);
    }
  };
  envelope.recipient = connection;
  envelope.shouldSend = () => (isStale() ? recheck().then(() => true, falseIfDenied) : true);

  if (isStale()) await recheck();
  if (services.telemetry) context.authorizationMs = performance.now() - context.startedAt;
  let ended = () => {};
  const untilEnded = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const handlerContext = messageContext(services, connection, live, user, body, context, untilEnded);
  let result: unknown;
  try {
    result = await handler.run(handlerContext);
  } catch (error) {
    await recheck().catch((denial: unknown) => {
      if (!(error instanceof RequestError)) services.onError(error, what);
      throw denial;
    });
    throw error;
  } finally {
    ended();
  }
  // The result may be sent only to a user who still has the permission.
  if (isStale()) await recheck();
  return result;
}

function tooManyChanges(what: string): RequestError {
  return new ForbiddenError(
    `${what} was checked ${MAX_CHECKS} times, and each time the permissions of the user or the data of a channel ` +
      "changed during the check. Send the message again.",
    { reason: "unstable" },
  );
}

/**
 * Returns the gateway of a call.
 *
 * No message is accepted while the database cannot list the gateways. The answer still contains the
 * id of the call, because the client would otherwise wait until its timeout. It contains no other
 * data, because the caller is not verified.
 *
 * @throws RequestError if the caller is not a registered gateway
 */
async function verifyGateway(
  services: Services,
  call: MessageCall,
  http: HttpCall,
  context: DecisionContext,
  envelope: MessageState,
): Promise<Gateway> {
  try {
    return await services.gatewayAuthenticator.check(call);
  } catch (error) {
    if (error instanceof RequestError) throw error;
    const gateway = services.gatewayAuthenticator.lastKnown(call);
    if (gateway) envelope.gateway = gateway;
    const json = await readJsonText(http, MAX_MESSAGE_BYTES).catch(() => undefined);
    if (json && "id" in json.value) context.callId = knownCallId(json.value.id, json.text);
    throw error;
  }
}

/** Returns the id of a call, or `undefined` if an answer cannot repeat it. */
function knownCallId(id: unknown, json: string): string | number | undefined {
  try {
    return callId(id, json);
  } catch {
    return undefined;
  }
}

/** Calls `authorize` of a handler, if it has one. @throws RequestError unless it returns `true` */
async function requireAuthorize(
  { authorize }: MountedHandler,
  what: string,
  handlerContext: HandlerAuthorizeContext,
  context: DecisionContext,
): Promise<void> {
  if (authorize) await runAuthorize(context, `authorize of ${what}`, () => authorize(handlerContext));
}

/** Returns `false` for a denial, and throws any other error again. */
function falseIfDenied(error: unknown): false {
  if (error instanceof RequestError) return false;
  throw error;
}

/**
 * Returns the open connection of a message.
 *
 * @param http the event, on the first call for a message. A connection without a row is then
 *   closed, so that its client reconnects
 * @throws RequestError if the connection has no open row
 */
async function findOpenConnection(
  services: Services,
  gateway: Gateway,
  call: MessageCall,
  http?: HttpCall,
): Promise<ConnectionWithChannels> {
  const found = services.store.connections.find(gateway.id, call.connectionId);
  const connection = found instanceof Promise ? await found : found;
  if (connection) return connection;
  if (http && services.gatewayAuthenticator.isProven(call)) {
    services.orphanedConnections.close(gateway, call.connectionId, connectedAt(http));
  }
  throw new ForbiddenError(
    "No open connection has this connection id. It was closed, or never opened. Connect again.",
    { reason: "connection" },
  );
}

/**
 * Returns whether the message is a ping of the client library.
 *
 * A message with a field that names a handler is a message of the app, even if its `type` is that
 * of a ping.
 */
function isPing(view: MountedView, frame: Readonly<Record<string, unknown>>): boolean {
  return frame.type === PING_TYPE && !Object.hasOwn(frame, view.handlerKey);
}

/** Returns the handler that the message names in the field `handlerKey`, or else in `routeKey`. */
function handlerFor(
  view: MountedView,
  frame: Readonly<Record<string, unknown>>,
  context: DecisionContext,
): MountedHandler {
  const key = Object.hasOwn(frame, view.handlerKey) ? view.handlerKey : view.routeKey;
  if (!Object.hasOwn(frame, key)) {
    throw malformedRequest(
      `The message must contain "${view.handlerKey}" or "${view.routeKey}" with the name of a handler. Add one of them.`,
    );
  }
  const name = frame[key];
  if (typeof name !== "string")
    throw malformedRequest(
      `"${key}" must be the name of a handler, but is of type ${typeof name}. Send a string.`,
    );
  context.handler = name.slice(0, 200);
  const handler = view.handlers.get(name);
  if (!handler) {
    const declared = [...view.handlers.keys()].join(", ") || "none";
    throw new ForbiddenError(
      `${view.name} has no handler ${JSON.stringify(context.handler)} that clients can call. Call one of: ${declared}.`,
      { reason: "handler" },
    );
  }
  return handler;
}

/** Returns the fields of a message without those that select the handler or identify the call. */
function payloadOf(view: MountedView, frame: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const payload: Record<string, unknown> = {};
  for (const key of Object.keys(frame)) {
    if (key === "id" || key === view.handlerKey || key === view.routeKey) continue;
    // An assignment to a key such as __proto__ would call a setter.
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
  const issueTexts = issues.map((issue) => issue.message.slice(0, 200)).join(" ");
  const paths = issues.map((issue) => issue.path?.map(segmentName).join(".") || "body").join(", ");
  const explanation = `The message does not match the schema of ${name} at ${paths.slice(0, 500)}: ${issueTexts}`;
  throw new BadRequestError(explanation, { reason: "invalid", clientMessage: issueTexts });
}

function segmentName(part: PropertyKey | StandardSchemaV1.PathSegment): string {
  return String(typeof part === "object" ? part.key : part);
}

/** Maximum length of the id of a call, in characters. */
const MAX_CALL_ID = 128;

/**
 * Checks the id of a call.
 *
 * The answer repeats the id, so a number that would be written differently there is rejected.
 *
 * @param json the message as it arrived
 * @throws RequestError with status 400 if the id is invalid
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

function badCallId(received: string): RequestError {
  const rule =
    `The id of a call must be text of at most ${MAX_CALL_ID} characters, or a number from -(2^53 - 1) to 2^53 - 1 in its ` +
    "shortest form. Use text for anything else.";
  return malformedRequest(`The id of the call is ${received}. ${rule}`, rule);
}
