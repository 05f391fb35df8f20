import { randomUUID } from "node:crypto";
import type { Kysely } from "kysely";
import type { DecisionContext } from "../audit/decision.ts";
import { authenticatedUser } from "../auth/authenticated-user.ts";
import { requireChannelRules, requireRule, runChannelAuthorize } from "../auth/authorize.ts";
import type { Gateway } from "../auth/gateways.ts";
import { addressBlock } from "../auth/rate-limits.ts";
import { hashToken, type TokenGrant } from "../auth/tokens.ts";
import { lockOfConnections, type NewConnection, type SpentMark } from "../connections/open.ts";
import type { ConnectionLimit } from "../connections/user-connections.ts";
import { malformed, type Reason, RefusedError } from "../errors.ts";
import { ANONYMOUS, type Subject } from "../permissions/rules.ts";
import type { ConnectCall } from "../protocol/gateway-call.ts";
import type { HttpCall } from "../protocol/http-call.ts";
import { loopbackOrigin } from "../protocol/loopback.ts";
import type { Services } from "../services.ts";
import type { Tables } from "../storage/database.ts";
import { firstEnd } from "../storage/sql/effective-permissions.ts";
import { checkChannelName } from "../views/channels.ts";
import type { MountedView } from "../views/mount.ts";
import { userOf } from "../views/user.ts";
import { tooManyConnections } from "./connection-slots.ts";

/**
 * Denials of a connect that may be an attempt to guess a token or to use a stolen one. A known user without a permission is not among
 * them: the user's own limit applies.
 */
const FAILURES: ReadonlySet<Reason> = new Set([
  "token-missing",
  "token-unknown",
  "token-expired",
  "token-replayed",
  "session",
  // A token of an ended session can be sent again and again, like one that was spent.
  "session-ended",
]);

/** A connect with an accepted token and session, or an accepted anonymous one. */
interface AuthenticatedConnect {
  readonly subject: Subject;
  readonly sessionId: string | null;
  /** Number of the last change before the subject was read. */
  readonly since: number;
  /** The token that was spent. */
  readonly token: SpentMark | undefined;
}

/**
 * `$connect`: decides whether a connection opens, and as which user.
 *
 * The order of the checks is the security design: caller, form, Origin, token spent (a failure counts for its address, and limits
 * only failures), same session, view and channel of the token, limits of address and user, user active, view's rule, channel's rules,
 * `authorize`, the view's `connect()`, row and open connections of the user. A spent token stays spent, whatever follows.
 *
 * @throws RefusedError
 */
export async function connect(
  services: Services,
  view: MountedView,
  call: ConnectCall,
  http: HttpCall,
  context: DecisionContext,
): Promise<void> {
  const gateway = await services.gatewayAuthenticator.check(call);
  context.gateway = gateway.name;
  const channel = call.channel || view.defaultChannel;
  if (channel !== undefined) {
    checkChannelName(channel);
    context.channel = channel;
  }
  const address = sourceOf(services, view, call, http);
  if (address.text !== undefined) context.sourceIp = address.text;
  if (call.origin !== undefined) context.origin = call.origin.slice(0, 500);
  services.origins.require(await services.origins.decide(call.origin));

  const request = { view, call, gateway, http, channel };
  const attempt = { gatewayId: gateway.id, view: view.path, block: address.block };
  const accepted = await authenticateConnect(services, request, context).catch(async (error: unknown) => {
    if (error instanceof RefusedError && FAILURES.has(error.reason))
      await services.connectLimits.failed(attempt);
    throw error;
  });
  await services.connectLimits.take(attempt, accepted.subject.userId);
  checkRules(services, context, view, channel, accepted.subject);
  const user = userOf(accepted.subject, services.permissions, context);
  if (channel !== undefined) await runChannelAuthorize(context, services.channels.require(channel), user);
  if (services.telemetry) context.gateMs = performance.now() - context.startedAt;
  await view.view.connect?.({
    user,
    channel,
    connectionId: call.connectionId,
    get request() {
      return http.request;
    },
  });
  await open(services, request, accepted, address.text, context).catch(async (error: unknown) => {
    // Others may share the address of a user who has too many connections.
    if (error instanceof RefusedError && error.reason === "connection-limit")
      await services.connectLimits.giveBack(attempt);
    throw error;
  });
}

interface ConnectRequest {
  readonly view: MountedView;
  readonly call: ConnectCall;
  readonly gateway: Gateway;
  readonly http: HttpCall;
  readonly channel: string | undefined;
}

async function authenticateConnect(
  services: Services,
  request: ConnectRequest,
  context: DecisionContext,
): Promise<AuthenticatedConnect> {
  const { view, call, channel } = request;
  if (call.token !== undefined) return verifyToken(services, call.token, request, context);
  const since = hasHooks(services, channel) ? await services.changeLog.last(services.database.db) : 0;
  return { subject: withoutToken(view), sessionId: null, since, token: undefined };
}

/** Whether `authorize` is called, whose answer can be out of date by the time the row is written. */
function hasHooks(services: Services, channel: string | undefined): boolean {
  return channel !== undefined && services.channels.require(channel).authorize.length > 0;
}

/** Without a token there is no user, whatever cookie came along. */
function withoutToken(view: MountedView): Subject {
  if (view.rule.signedIn) {
    throw new RefusedError(`${view.name} needs a token, and the connect brought no ws_token.`, {
      reason: "token-missing",
    });
  }
  return ANONYMOUS;
}

/** Spends the token first: it is cheaper than the app's `authenticate`, which a flood of bad tokens then does not reach. */
async function verifyToken(
  services: Services,
  token: string,
  request: ConnectRequest,
  context: DecisionContext,
): Promise<AuthenticatedConnect> {
  const { call, gateway, http } = request;
  const grant = await services.tokens.spend(token);
  context.userId = grant.userId;
  if (grant.sessionId !== null) context.sessionId = grant.sessionId;
  if (services.tokenBinding !== "token") {
    const identity = await authenticatedUser(services, http.request);
    const same = identity?.userId === grant.userId && identity.sessionId === grant.sessionId;
    if (!same) {
      throw new RefusedError(
        identity
          ? `The token is of user ${grant.userId}, but the connect came with another login, of user ${identity.userId}.`
          : withoutLogin(call.origin),
        { reason: "session" },
      );
    }
  } else if (grant.origin !== (call.origin ?? null) || (grant.gatewayId ?? gateway.id) !== gateway.id) {
    throw new RefusedError("The token was issued to another page's origin, or for another gateway.", {
      reason: "session",
    });
  }
  requireScope(grant, request);
  const spent = { hash: hashToken(token), spentAt: grant.spentAt };
  return { subject: grant.subject, sessionId: grant.sessionId, since: grant.since, token: spent };
}

/** A channel is compared with the one that the connect joins, which is the view's default if the client names none. */
function requireScope(grant: TokenGrant, { view, channel }: ConnectRequest): void {
  const isView = grant.view === null || grant.view === view.path;
  const isChannel = grant.channel === null || grant.channel === channel;
  if (isView && isChannel) return;
  const scope = [
    grant.view === null ? "" : `view ${grant.view}`,
    grant.channel === null ? "" : `channel ${grant.channel}`,
  ];
  throw new RefusedError(
    `The token was requested for ${scope.filter(Boolean).join(" and ")}, but is used for view ${view.path} ` +
      `${channel === undefined ? "without a channel" : `and channel ${channel}`}. Request a token for each connect, with the view and ` +
      "the channel of this connect.",
    { reason: "token-scope" },
  );
}

function withoutLogin(origin: string | undefined): string {
  const page = loopbackOrigin(origin)?.hostname;
  const other = page === "localhost" ? "127.0.0.1" : "localhost";
  const hint =
    page === undefined
      ? "Cookies reach $connect on a custom domain; elsewhere"
      : `The page is on ${page}. If the socket has another name of this machine, such as ${other}, the browser sends it no cookies: ` +
        "use one name for both. If cookies cannot reach $connect,";
  return `The connect came without a login. ${hint} use token: { binding: "token" }.`;
}

function checkRules(
  services: Services,
  context: DecisionContext,
  view: MountedView,
  channel: string | undefined,
  subject: Subject,
): void {
  requireRule(context, view.name, view.rule, subject);
  if (channel !== undefined) requireChannelRules(context, services.channels.require(channel), subject);
}

/**
 * The permissions are read again by the statement that writes the row, and checked before the row is committed, because the code of the
 * app may have taken long. Without `authorize` and `connect()`, the statement only requires that no change was recorded since they were
 * read. `authorize` of the channel is called again if a change that concerns the connection was recorded since it was called.
 */
async function open(
  services: Services,
  { view, call, gateway, channel }: ConnectRequest,
  { subject, sessionId, since, token }: AuthenticatedConnect,
  sourceIp: string | undefined,
  context: DecisionContext,
): Promise<void> {
  const { connectionId } = call;
  const { userId } = subject;
  const connection = {
    ...{ id: randomUUID(), gatewayId: gateway.id, connectionId, view: view.path, userId, sessionId, channel },
    sourceIp: sourceIp ?? null,
    token,
  };
  const checksChanges = hasHooks(services, channel);
  const limit = userId === null ? undefined : services.limits.connectionsAt(view.path);
  const lock = userId === null || limit === undefined ? undefined : lockOfConnections(userId);
  if (token !== undefined && !checksChanges && !view.view.connect) {
    const validUntil = firstEnd(subject);
    if (await services.connectionOpener.openUnchanged({ ...connection, limit, since, validUntil }, lock)) {
      context.connectionKey = connection.id;
      return;
    }
  }
  let hasProbed = false;
  let last = since;
  for (let attempt = 1; attempt <= ATTEMPTS; ) {
    const outcome = await services.database.sharedTransaction<Outcome>(
      async (db) => {
        const row = { ...connection, limit, since: checksChanges ? last : undefined };
        const opened = await services.connectionOpener.open(db, row);
        if (!opened) return whyNotOpened(services, db, row, call);
        const now = userId === null ? ANONYMOUS : { ...opened, userId };
        checkRules(services, context, view, channel, now);
        return { kind: "opened", connectionKey: opened.id };
      },
      { lock },
    );
    if (outcome.kind === "opened") {
      context.connectionKey = outcome.connectionKey;
      return;
    }
    if (outcome.kind === "full") {
      if (hasProbed || (await services.connectionProbes.closeGone(outcome.userId, outcome.limit.scope)) === 0)
        throw tooManyConnections(outcome.userId, outcome.limit);
      hasProbed = true;
      continue;
    }
    attempt++;
    last = outcome.last;
    const now =
      userId === null ? ANONYMOUS : await services.userPermissions.subject(services.database.db, userId);
    if (channel !== undefined)
      await runChannelAuthorize(
        context,
        services.channels.require(channel),
        userOf(now, services.permissions, context),
      );
  }
  throw new RefusedError(
    `authorize of channel "${channel}" was called ${ATTEMPTS} times, and each time the permissions of the user or the data of the ` +
      "channel changed meanwhile.",
    { reason: "unstable" },
  );
}

/** How often `authorize` is called for one connect before it is denied, because changes keep concerning it. */
const ATTEMPTS = 20;

/** What came of an attempt to write the row. */
type Outcome =
  | { readonly kind: "opened"; readonly connectionKey: string }
  /** A change that concerns the connection was recorded since `authorize` was called. */
  | { readonly kind: "changed"; readonly last: number }
  /** The user has as many open connections as the limit allows. */
  | { readonly kind: "full"; readonly userId: string; readonly limit: ConnectionLimit };

/** @throws RefusedError for what another attempt does not change */
async function whyNotOpened(
  services: Services,
  db: Kysely<Tables>,
  row: NewConnection,
  { connectionId, token }: ConnectCall,
): Promise<Outcome> {
  // A statement whose answer was lost has opened it, and was repeated.
  if (await services.connectionOpener.isOpened(db, row)) return { kind: "opened", connectionKey: row.id };
  const ended =
    token === undefined || row.token === undefined
      ? undefined
      : await services.tokens.whyEnded(db, token, row.token.spentAt);
  if (ended) throw ended;
  const { limit, since, userId } = row;
  if (since !== undefined) {
    const { last, isAffected } = await services.changeLog.check(db, row, since);
    if (isAffected) return { kind: "changed", last };
  }
  if (userId !== null && limit !== undefined) {
    const open = await services.userConnections.count(db, userId, limit.scope);
    if (open >= limit.max) return { kind: "full", userId, limit };
  }
  throw malformed(`Connection ${connectionId} has already been opened.`);
}

/** The peer's address and the block of addresses that is limited together. */
function sourceOf(
  services: Services,
  view: MountedView,
  call: ConnectCall,
  http: HttpCall,
): { text: string | undefined; block: string } {
  const text = services.trustProxy === 0 ? call.sourceIp : forwardedFor(http, services.trustProxy);
  const block = text === undefined ? undefined : addressBlock(text);
  if (block !== undefined) return { text, block };
  const names = ["connectsPerIp", "failedConnectsPerIp"] as const;
  if (names.every((name) => services.limits.at(view.path, name).value === false))
    return { text: undefined, block: "any" };
  throw malformed(
    `The connect brought no source address (${JSON.stringify(text) ?? "none"}). Map integration.request.header.x-sallyport-source-ip ` +
      "from context.identity.sourceIp, or turn off limits.connectsPerIp and limits.failedConnectsPerIp.",
  );
}

/** The entry that the outermost trusted proxy added, counted from the right. Entries to the left of it can be written by the client. */
function forwardedFor(http: HttpCall, proxies: number): string | undefined {
  const entries = (http.header("x-forwarded-for") ?? "").split(",").map((entry) => entry.trim());
  return entries[entries.length - 1 - proxies];
}
