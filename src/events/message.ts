import type { DecisionContext } from "../audit/decision.ts";
import { MAX_CHECKS, requireRule, runAuthorize, tooManyChanges } from "../auth/authorize.ts";
import { ForbiddenError, malformedRequest, RequestError } from "../errors.ts";
import { readJsonText } from "../protocol/body.ts";
import { connectedAt, type MessageCall } from "../protocol/gateway-call.ts";
import type { HttpRequest, HttpResponse } from "../protocol/http.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import type { EventServices } from "../services.ts";
import type { ConnectionWithChannels } from "../storage/stores/connections.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import type { HandlerAuthorizeContext } from "../views/handler.ts";
import type { MountedHandler } from "../views/mount.ts";
import { userOf } from "../views/user.ts";
import type { MessageEvent } from "./event-context.ts";
import { LiveConnection, messageContext, permittedChannels } from "./handler-context.ts";
import { callId, checkedBody, handlerFor, isPing, knownCallId, payloadOf } from "./message-body.ts";
import { answerOf, denialOf, deniedAnswer, type EventAnswer, reply } from "./response.ts";

/** Handles a message from an open connection, and sends the answer. */
export async function handleMessage(services: EventServices, event: MessageEvent): Promise<HttpResponse> {
  try {
    const answer = await answerOf(services, event, () => message(services, event));
    if (event.gateway?.replies !== "push") return reply(answer.status, answer.body, answer.headers);
    await pushAnswer(services, event, event.gateway, answer);
    // While the setting changes, the gateway can still forward this body. Clients ignore an empty
    // one.
    return reply(200, "", answer.headers);
  } finally {
    event.inFlight?.leave();
  }
}

/**
 * Sends the answer of a message as a push, for a gateway without route responses.
 *
 * The answer can wait in the delivery queue. The permissions are checked again before it is sent.
 */
async function pushAnswer(
  services: EventServices,
  { call, connection, decision, shouldSend }: MessageEvent,
  { endpoint }: Gateway,
  { body }: EventAnswer,
): Promise<void> {
  const { delivery } = services.sending;
  const { connectionId } = call;
  const [connectionKey, userId] = [connection?.id ?? "", connection?.userId ?? null];
  const recipient = { connectionKey, userId, connectionId, endpoint, connectedAt: 0 };
  // The text of an error that a handler threw also requires the permission.
  const outcome = await delivery.post(recipient, body, shouldSend ? { shouldSend } : {});
  if (outcome.kind === "denied") {
    const denial = new ForbiddenError(
      "The user lost the permission while the answer waited to be sent. Grant it to deliver later answers.",
      { reason: "permission" },
    );
    const denied = deniedAnswer(await denialOf(services, denial, decision), decision);
    await delivery.post(recipient, denied.body);
  } else if (outcome.kind === "failed") {
    services.reports.onError(new Error(outcome.reason), `sending the answer to connection ${connectionId}`);
  }
}

/**
 * Checks a message from an open connection, and calls its handler.
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
export async function message(services: EventServices, event: MessageEvent): Promise<unknown> {
  const { view, call, http, decision: context } = event;
  const gateway = services.auth.gatewayAuthenticator.find(call) ?? (await verifyGateway(services, event));
  event.gateway = gateway;
  context.gateway = gateway.name;
  const json = await readJsonText(http, MAX_MESSAGE_BYTES);
  if (json === undefined) throw malformedRequest("The message is empty. Send a JSON object.");
  const frame = json.value;
  if ("id" in frame) context.callId = callId(frame.id, json.text);

  const inFlight = services.limits.messagesInFlight.enter(gateway.id, call.connectionId);
  event.inFlight = inFlight;
  let checkedSequence = services.changedSubjects.sequence;
  const connection = await findOpenConnection(services, gateway, call, http);
  context.connectionKey = connection.id;
  if (connection.userId !== null) context.userId = connection.userId;
  if (connection.sessionId !== null) context.sessionId = connection.sessionId;
  inFlight.countUser(connection.userId);
  services.limits.messageLimits.take(view.path, connection);
  services.connections.activity.touch(connection.id);

  requireRule(context, view.name, view.rule, connection);
  if (isPing(view, frame)) return undefined;
  const handler = handlerFor(view, frame, context);
  const what = `${view.name}.${handler.name}`;
  requireRule(context, what, handler.rule, connection);
  services.limits.messageLimits.takeCall(view.path, handler, connection);
  const payload = payloadOf(view, frame);
  const body = handler.schema ? await checkedBody(view, handler.name, handler.schema, payload) : payload;
  const given = (row: ConnectionWithChannels) => ({
    user: userOf(row, services.definitions.permissions, context),
    connection: new LiveConnection(row, gateway.name, permittedChannels(services, row)),
    body,
  });
  let latest = given(connection);
  if (handler.authorize) await requireAuthorize(handler, what, latest, context);

  // Hooks and handlers can run for a long time. Everything is checked again if a change since the
  // last check affects the connection.
  let checked: ConnectionWithChannels = connection;
  const isStale = () => services.changedSubjects.isStale(checked, checkedSequence);
  const recheck = async () => {
    for (let checks = 1; isStale(); checks++) {
      if (checks === MAX_CHECKS) throw tooManyChanges(what, "Send the message again.");
      checkedSequence = services.changedSubjects.sequence;
      const current = await findOpenConnection(services, gateway, call);
      // Whether a later change of a group affects the connection depends on these newer
      // permissions.
      checked = current;
      requireRule(context, view.name, view.rule, current);
      requireRule(context, what, handler.rule, current);
      latest = given(current);
      await requireAuthorize(handler, what, latest, context);
    }
  };
  event.connection = connection;
  event.shouldSend = () => (isStale() ? recheck().then(() => true, falseIfDenied) : true);

  if (isStale()) await recheck();
  if (services.reports.telemetry) context.authorizationMs = performance.now() - context.startedAt;
  const result = await runHandler(
    // The handler receives the permissions and channels of the last check.
    (untilEnded) => handler.run(messageContext(services, checked, latest, context, untilEnded)),
    async (error) => {
      await recheck().catch((denial: unknown) => {
        if (!(error instanceof RequestError)) services.reports.onError(error, what);
        throw denial;
      });
    },
  );
  // The result may be sent only to a user who still has the permission.
  if (isStale()) await recheck();
  return result;
}

/**
 * Runs a handler.
 *
 * @param run receives a promise that resolves when the handler has ended
 * @param onFailure receives the error of the handler. It can throw another one instead
 */
async function runHandler(
  run: (untilEnded: Promise<void>) => unknown,
  onFailure: (error: unknown) => Promise<void>,
): Promise<unknown> {
  let ended = () => {};
  const untilEnded = new Promise<void>((resolve) => {
    ended = resolve;
  });
  try {
    return await run(untilEnded);
  } catch (error) {
    await onFailure(error);
    throw error;
  } finally {
    ended();
  }
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
async function verifyGateway(services: EventServices, event: MessageEvent): Promise<Gateway> {
  const { call, http, decision } = event;
  try {
    return await services.auth.gatewayAuthenticator.check(call);
  } catch (error) {
    if (error instanceof RequestError) throw error;
    const gateway = services.auth.gatewayAuthenticator.lastKnown(call);
    if (gateway) event.gateway = gateway;
    const json = await readJsonText(http, MAX_MESSAGE_BYTES).catch(() => undefined);
    if (json && "id" in json.value) decision.callId = knownCallId(json.value.id, json.text);
    throw error;
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
  services: EventServices,
  gateway: Gateway,
  call: MessageCall,
  http?: HttpRequest,
): Promise<ConnectionWithChannels> {
  const found = services.store.connections.find(gateway.id, call.connectionId);
  const connection = found instanceof Promise ? await found : found;
  if (connection) return connection;
  if (http && services.auth.gatewayAuthenticator.isAuthenticated(call)) {
    services.connections.orphaned.close(gateway, call.connectionId, connectedAt(http));
  }
  throw new ForbiddenError(
    "No open connection has this connection id. It was closed, or never opened. Connect again.",
    { reason: "connection" },
  );
}
