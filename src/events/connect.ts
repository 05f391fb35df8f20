import { randomUUID } from "node:crypto";
import type { DecisionContext } from "../audit/decision.ts";
import { authenticatedUser } from "../auth/authenticated-user.ts";
import {
  MAX_CHECKS,
  requireChannelRules,
  requireRule,
  runChannelAuthorize,
  tooManyChanges,
} from "../auth/authorize.ts";
import { addressBlock } from "../auth/limit-keys.ts";
import { hashToken, spentTokenError } from "../auth/tokens.ts";
import { ForbiddenError, malformedRequest, type Reason, RequestError } from "../errors.ts";
import { ANONYMOUS } from "../permissions/rules.ts";
import type { ConnectCall } from "../protocol/gateway-call.ts";
import type { HttpRequest, HttpResponse } from "../protocol/http.ts";
import { loopbackOrigin } from "../protocol/loopback.ts";
import type { EventServices } from "../services.ts";
import type { NewConnection, SpentTokenRef } from "../storage/stores/connections.ts";
import type { Gateway } from "../storage/stores/gateways.ts";
import type { TokenGrant } from "../storage/stores/tokens.ts";
import type { EffectivePermissions, Subject } from "../storage/stores/users.ts";
import { checkChannelName } from "../views/channels.ts";
import type { MountedView } from "../views/mount.ts";
import { userOf } from "../views/user.ts";
import { tooManyConnections } from "./connection-probes.ts";
import type { ConnectEvent } from "./event-context.ts";
import { answerOf, reply } from "./response.ts";

/**
 * Reasons of denied connects that can be an attempt to guess a token or to use a stolen one.
 *
 * A known user without a permission is not included, because the limit of that user applies.
 */
const FAILURES: ReadonlySet<Reason> = new Set([
  "token-missing",
  "token-unknown",
  "token-expired",
  "token-replayed",
  "session",
  // The token of an ended session can be sent any number of times, like one that was spent.
  "session-ended",
]);

/** Handles `$connect`, and returns the response that opens or denies the connection. */
export async function handleConnect(services: EventServices, event: ConnectEvent): Promise<HttpResponse> {
  const answer = await answerOf(services, event, () => connect(services, event));
  return reply(answer.status, answer.body, answer.headers);
}

/** A connect after its token and session were verified, or an anonymous one. */
interface AuthenticatedConnect {
  readonly subject: Subject;
  readonly sessionId: string | null;
  /** Number of the last change before the subject was read. */
  readonly since: number;
  /** The token that was spent. */
  readonly token: SpentTokenRef | undefined;
}

/**
 * Decides whether a connection opens, and for which user.
 *
 * The order of the checks is the security design:
 *
 * - caller, form and Origin
 * - the token, which is spent. A failure counts for the client's address, and that limit applies to
 *   failures only
 * - same session, view and channel of the token
 * - limits of address and user
 * - user active, rule of the view, rules of the channel, `authorize`
 * - `connect()` of the view
 * - row of the connection, number of open connections of the user
 *
 * A spent token stays spent if a later check fails.
 *
 * @throws RequestError if a check fails
 */
export async function connect(services: EventServices, event: ConnectEvent): Promise<void> {
  const { view, call, http, decision: context } = event;
  const gateway = await services.auth.gatewayAuthenticator.check(call);
  context.gateway = gateway.name;
  const channel = call.channel || view.defaultChannel;
  if (channel !== undefined) {
    checkChannelName(channel);
    context.channel = channel;
  }
  const address = sourceOf(services, view, call, http);
  if (address.text !== undefined) context.sourceIp = address.text;
  if (call.origin !== undefined) context.origin = call.origin.slice(0, 500);
  services.auth.origins.require(await services.auth.origins.decide(call.origin));

  const request = { view, call, gateway, http, channel };
  const attempt = { gatewayId: gateway.id, view: view.path, block: address.block };
  const authenticated = await authenticateConnect(services, request, context).catch(
    async (error: unknown) => {
      if (error instanceof RequestError && FAILURES.has(error.reason))
        await services.limits.connectLimits.failed(attempt);
      throw error;
    },
  );
  await services.limits.connectLimits.take(attempt, authenticated.subject.userId);
  checkRules(services, context, view, channel, authenticated.subject);
  const user = userOf(authenticated.subject, services.definitions.permissions, context);
  if (channel !== undefined)
    await runChannelAuthorize(context, services.definitions.channels.require(channel), user);
  if (services.reports.telemetry) context.authorizationMs = performance.now() - context.startedAt;
  await view.view.connect?.({
    user,
    channel,
    connectionId: call.connectionId,
    get request() {
      return http.request;
    },
  });
  await open(services, request, authenticated, address.text, context).catch(async (error: unknown) => {
    // Other users can share the address of a user who has too many connections.
    if (error instanceof RequestError && error.reason === "connection-limit")
      await services.limits.connectLimits.giveBack(attempt);
    throw error;
  });
}

interface ConnectRequest {
  readonly view: MountedView;
  readonly call: ConnectCall;
  readonly gateway: Gateway;
  readonly http: HttpRequest;
  readonly channel: string | undefined;
}

async function authenticateConnect(
  services: EventServices,
  request: ConnectRequest,
  context: DecisionContext,
): Promise<AuthenticatedConnect> {
  const { view, call, channel } = request;
  if (call.token !== undefined) return verifyToken(services, call.token, request, context);
  const since = hasHooks(services, channel) ? await services.store.changes.last() : 0;
  return { subject: anonymousSubject(view), sessionId: null, since, token: undefined };
}

/**
 * Returns whether the channel has an `authorize`. Its result can be outdated when the row is
 * written.
 */
function hasHooks(services: EventServices, channel: string | undefined): boolean {
  return channel !== undefined && services.definitions.channels.require(channel).authorize.length > 0;
}

/**
 * Returns the anonymous subject. Without a token there is no user, even if the request has a
 * session cookie.
 */
function anonymousSubject(view: MountedView): Subject {
  if (view.rule.signedIn) {
    throw new ForbiddenError(
      `${view.name} requires a token, but the connect has no ws_token. Request a token and add it to the URL.`,
      {
        reason: "token-missing",
      },
    );
  }
  return ANONYMOUS;
}

/**
 * Spends the token, and checks that it belongs to the session and view of the connect.
 *
 * The token is spent before `authenticate` is called, which costs more. A flood of invalid tokens
 * does not reach the app.
 */
async function verifyToken(
  services: EventServices,
  token: string,
  request: ConnectRequest,
  context: DecisionContext,
): Promise<AuthenticatedConnect> {
  const { call, gateway, http } = request;
  const grant = await services.auth.tokens.spend(token);
  context.userId = grant.userId;
  if (grant.sessionId !== null) context.sessionId = grant.sessionId;
  if (services.auth.tokenBinding !== "token") {
    const identity = await authenticatedUser(services.auth, http.request);
    const isSameSession = identity?.userId === grant.userId && identity.sessionId === grant.sessionId;
    if (!isSameSession) {
      throw new ForbiddenError(
        identity
          ? `The token was issued to user ${grant.userId} in one session, but the connect is from another session, of ` +
              `user ${identity.userId}. Request a token in the session that connects.`
          : noSessionMessage(call.origin),
        { reason: "session" },
      );
    }
  } else if (grant.origin !== (call.origin ?? null) || (grant.gatewayId ?? gateway.id) !== gateway.id) {
    throw new ForbiddenError(
      "The token was issued for another origin or gateway. Request a token for this one.",
      {
        reason: "session",
      },
    );
  }
  requireScope(grant, request);
  const spent = { hash: hashToken(token), spentAt: grant.spentAt };
  return { subject: grant.subject, sessionId: grant.sessionId, since: grant.since, token: spent };
}

/**
 * Checks that the connect is within the view and channel of the token.
 *
 * If the client names no channel, the default channel of the view is compared.
 */
function requireScope(grant: TokenGrant, { view, channel }: ConnectRequest): void {
  const isView = grant.view === null || grant.view === view.path;
  const isChannel = grant.channel === null || grant.channel === channel;
  if (isView && isChannel) return;
  const scope = [
    grant.view === null ? "" : `view ${grant.view}`,
    grant.channel === null ? "" : `channel ${grant.channel}`,
  ];
  const advice = isView
    ? "Request a token for each connect, with the view and the channel of this connect."
    : `Use the WebSocket URL of view ${grant.view}, or request a token for view ${view.path}.`;
  throw new ForbiddenError(
    `The token was requested for ${scope.filter(Boolean).join(" and ")}, but is used for view ${view.path} ` +
      `${channel === undefined ? "without a channel" : `and channel ${channel}`}. ${advice}`,
    { reason: "token-scope" },
  );
}

function noSessionMessage(origin: string | undefined): string {
  const page = loopbackOrigin(origin)?.hostname;
  const other = page === "localhost" ? "127.0.0.1" : "localhost";
  const hint =
    page === undefined
      ? "Cookies reach $connect on a custom domain only. On another domain,"
      : `The page is on ${page}. The browser sends no cookies to another host name, such as ${other}. ` +
        "Use one host name for both. If cookies cannot reach $connect,";
  return `The connect has no session, because authenticate() returned null. ${hint} use token: { binding: "token" }.`;
}

function checkRules(
  services: EventServices,
  context: DecisionContext,
  view: MountedView,
  channel: string | undefined,
  subject: Subject,
): void {
  requireRule(context, view.name, view.rule, subject);
  if (channel !== undefined)
    requireChannelRules(context, services.definitions.channels.require(channel), subject);
}

/**
 * Writes the row of the connection.
 *
 * The code of the app can take long. Therefore, the operation that writes the row reads the
 * permissions again, and checks them.
 *
 * Without `authorize` and `connect()`, it only requires that no change was recorded since the
 * permissions were read. `authorize` of the channel is called again if a change that affects the
 * connection was recorded since the last call.
 */
async function open(
  services: EventServices,
  { view, call, gateway, channel }: ConnectRequest,
  { subject, sessionId, since, token }: AuthenticatedConnect,
  sourceIp: string | undefined,
  context: DecisionContext,
): Promise<void> {
  const { connectionId } = call;
  const { userId } = subject;
  const connection: NewConnection = {
    ...{ id: randomUUID(), gatewayId: gateway.id, connectionId, view: view.path, userId, sessionId, channel },
    ...{ sourceIp: sourceIp ?? null, token, since: undefined },
    limit: userId === null ? undefined : services.limits.settings.connectionsAt(view.path),
  };
  const checksChanges = hasHooks(services, channel);
  const check = (permissions: EffectivePermissions) =>
    checkRules(services, context, view, channel, userId === null ? ANONYMOUS : { ...permissions, userId });
  let checked =
    token !== undefined && !checksChanges && !view.view.connect
      ? { since, grants: subject.grants }
      : undefined;
  let hasProbed = false;
  let last = since;
  for (let checks = 1; ; ) {
    const row = { ...connection, since: checksChanges ? last : undefined };
    const result = await services.store.connections.open(row, check, checked);
    checked = undefined;
    if (result.kind === "opened") {
      context.connectionKey = connection.id;
      return;
    }
    if (result.kind === "full") {
      if (hasProbed) throw connectionsFull(connection);
      if ((await closeGone(services, connection)) === 0) throw connectionsFull(connection);
      hasProbed = true;
      continue;
    }
    if (result.kind !== "changed") throw notOpened(result.kind, connection);
    if (checks === MAX_CHECKS) throw tooManyChanges(`Channel "${channel}"`, "Connect again.");
    checks++;
    last = result.last;
    const current = userId === null ? ANONYMOUS : await services.store.users.subject(userId);
    if (channel !== undefined)
      await runChannelAuthorize(
        context,
        services.definitions.channels.require(channel),
        userOf(current, services.definitions.permissions, context),
      );
  }
}

/** Closes rows of the user's connections that no longer exist. Returns the number of rows. */
function closeGone(services: EventServices, { userId, limit }: NewConnection): Promise<number> | number {
  return userId === null || limit === undefined
    ? 0
    : services.connections.probes.closeGone(userId, limit.scope);
}

function connectionsFull({ userId, limit }: NewConnection): RequestError {
  return tooManyConnections(userId ?? "", limit ?? { max: 0, scope: { exceptViews: [] } });
}

/** Returns the error for a row that another attempt cannot write either. */
function notOpened(
  kind: "token-deleted" | "session-ended" | "token-respent" | "exists",
  { connectionId, userId }: NewConnection,
): RequestError {
  if (kind !== "exists") return spentTokenError(kind, userId ?? "");
  return malformedRequest(`Connection ${connectionId} was opened before. Send $connect once per connection.`);
}

/** Returns the client's address, and the address block that shares its limits. */
function sourceOf(
  services: EventServices,
  view: MountedView,
  call: ConnectCall,
  http: HttpRequest,
): { text: string | undefined; block: string } {
  const text = services.auth.trustProxy === 0 ? call.sourceIp : forwardedFor(http, services.auth.trustProxy);
  const block = text === undefined ? undefined : addressBlock(text);
  if (block !== undefined) return { text, block };
  const names = ["connectsPerIp", "failedConnectsPerIp"] as const;
  if (names.every((name) => services.limits.settings.at(view.path, name).value === false))
    return { text: undefined, block: "any" };
  throw malformedRequest(
    `The connect has no valid source address (${JSON.stringify(text) ?? "none"}), so the limits per address cannot be ` +
      "checked. Map integration.request.header.x-sallyport-source-ip from context.identity.sourceIp, or set " +
      "limits.connectsPerIp and limits.failedConnectsPerIp to false.",
  );
}

/**
 * Returns the X-Forwarded-For entry that the outermost trusted proxy added, counted from the right.
 *
 * Entries to the left of it can be written by the client.
 */
function forwardedFor(http: HttpRequest, proxies: number): string | undefined {
  const entries = (http.header("x-forwarded-for") ?? "").split(",").map((entry) => entry.trim());
  return entries[entries.length - 1 - proxies];
}
