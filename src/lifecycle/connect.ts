import type { Kysely } from "kysely";
import { checkChannelName } from "../access/channels.ts";
import type { CountedKeys } from "../access/connect-limits.ts";
import type { Trail } from "../access/decisions.ts";
import { askChannel, demand, demandChannel } from "../access/guard.ts";
import { addressBlock } from "../access/rate-limits.ts";
import { ANONYMOUS, type Subject } from "../access/rules.ts";
import { hashToken } from "../access/tokens.ts";
import { userOf } from "../access/user.ts";
import { malformed, type Reason, RefusedError } from "../errors.ts";
import type { Gateway } from "../gateways/gateways.ts";
import type { ConnectCall } from "../protocol/gateway-call.ts";
import type { HttpCall } from "../protocol/http-call.ts";
import { loopbackOrigin } from "../protocol/loopback.ts";
import type { Tables } from "../storage/database.ts";
import { authenticatedUser } from "./identity.ts";
import type { MountedView } from "./mount-views.ts";
import type { AuthenticatedUser, Rooms } from "./rooms.ts";

/**
 * Refusals that may be somebody guessing. A known user without the right is held by the user's own limit: counted
 * here, one who lost a right and keeps reconnecting would lock out everybody behind the same address.
 */
const FAILURES: ReadonlySet<Reason> = new Set([
  "token-missing",
  "token-unknown",
  "token-expired",
  "token-replayed",
  "login",
]);

/** A connect whose token, login, user and rules have been found good. */
interface Admission {
  readonly subject: Subject;
  readonly loginId: string | null;
  /** How many changes had been recorded when the subject was read. */
  readonly changes: number;
}

/**
 * `$connect`: decides whether a socket opens, and as whose.
 *
 * Guards, in the order that is the security design: caller, shape, Origin, address limit, the app's `authenticate()`,
 * token spent, login matches, user limit, user active, view's rule, channel's rules, `authorize`, the author's
 * `connect()`, the row. A token once spent stays spent, whatever follows.
 *
 * @throws RefusedError
 */
export async function connect(
  rooms: Rooms,
  view: MountedView,
  call: ConnectCall,
  http: HttpCall,
  trail: Trail,
): Promise<void> {
  const gateway = await rooms.callers.check(call);
  trail.gateway = gateway.name;
  const channel = call.channel || view.defaultChannel;
  if (channel !== undefined) {
    checkChannelName(channel);
    trail.channel = channel;
  }
  const address = sourceOf(rooms, call, http);
  if (address.text !== undefined) trail.sourceIp = address.text;
  if (call.origin !== undefined) trail.origin = call.origin.slice(0, 500);
  rooms.origins.require(await rooms.origins.decide(call.origin));

  const knock = { gatewayId: gateway.id, block: address.block, token: call.token };
  const counted = await rooms.connectLimits.take(knock);
  const identity = rooms.tokenBinding === "token" ? null : await authenticatedUser(rooms, http.request);
  const arrival = { view, call, gateway, identity, channel };
  const admission = await admit(rooms, arrival, counted, trail).catch(async (error: unknown) => {
    if (error instanceof RefusedError && FAILURES.has(error.reason)) await rooms.connectLimits.failed(knock);
    throw error;
  });
  const user = userOf(admission.subject, rooms.permissions, trail);
  if (channel !== undefined) await askChannel(trail, rooms.channels.require(channel), user);
  if (rooms.telemetry) trail.gateMs = performance.now() - trail.startedAt;
  await view.view.connect?.({
    user,
    channel,
    connectionId: call.connectionId,
    get request() {
      return http.request;
    },
  });
  await open(rooms, arrival, admission, address.text, trail);
}

interface Arrival {
  readonly view: MountedView;
  readonly call: ConnectCall;
  readonly gateway: Gateway;
  readonly identity: AuthenticatedUser | null;
  readonly channel: string | undefined;
}

async function admit(rooms: Rooms, arrival: Arrival, counted: CountedKeys, trail: Trail): Promise<Admission> {
  const { view, call, gateway, channel } = arrival;
  const admission =
    call.token === undefined
      ? { subject: withoutToken(view), loginId: null, changes: await changesBefore(rooms, channel) }
      : await redeem(rooms, call.token, arrival, trail);
  const { userId } = admission.subject;
  if (userId !== null) await rooms.connectLimits.demandUser(gateway.id, userId, counted);
  checkRules(rooms, trail, view, channel, admission.subject);
  return admission;
}

/** Asked only where somebody's word may be out of date by the time it is used. */
async function changesBefore(rooms: Rooms, channel: string | undefined): Promise<number> {
  return asksSomebody(rooms, channel) ? rooms.evictions.changes(rooms.database.db) : 0;
}

function asksSomebody(rooms: Rooms, channel: string | undefined): boolean {
  return channel !== undefined && rooms.channels.require(channel).authorize.length > 0;
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

async function redeem(
  rooms: Rooms,
  token: string,
  { call, gateway, identity }: Arrival,
  trail: Trail,
): Promise<Admission> {
  const grant = await rooms.tokens.spend(token);
  trail.userId = grant.userId;
  if (grant.loginId !== null) trail.loginId = grant.loginId;
  if (rooms.tokenBinding !== "token") {
    const same = identity?.userId === grant.userId && (identity.sessionId ?? null) === grant.loginId;
    if (!same) {
      throw new RefusedError(
        identity
          ? `The token is of user ${grant.userId}, but the connect came with another login, of user ${identity.userId}.`
          : withoutLogin(call.origin),
        { reason: "login" },
      );
    }
  } else if (grant.origin !== (call.origin ?? null) || (grant.gatewayId ?? gateway.id) !== gateway.id) {
    throw new RefusedError("The token was issued to another page's origin, or for another gateway.", {
      reason: "login",
    });
  }
  return { subject: grant.subject, loginId: grant.loginId, changes: grant.changes };
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
  rooms: Rooms,
  trail: Trail,
  view: MountedView,
  channel: string | undefined,
  subject: Subject,
): void {
  demand(trail, view.name, view.rule, subject);
  if (channel !== undefined) demandChannel(trail, rooms.channels.require(channel), subject);
}

/**
 * Rights are read once more by the statement that writes the row, which nobody sees before they have been judged: the author's code
 * may have taken its time. The word of a channel's `authorize` is asked anew when anything was recorded to have changed since it
 * was given.
 */
async function open(
  rooms: Rooms,
  { view, call, gateway, channel }: Arrival,
  { subject, loginId, changes }: Admission,
  sourceIp: string | undefined,
  trail: Trail,
): Promise<void> {
  const { connectionId, token } = call;
  const { userId } = subject;
  const session = {
    ...{ gatewayId: gateway.id, connectionId, view: view.path, userId, loginId, channel },
    sourceIp: sourceIp ?? null,
    tokenHash: token === undefined ? undefined : hashToken(token),
  };
  const asks = asksSomebody(rooms, channel);
  for (let asked = changes; ; ) {
    const outcome = await rooms.database.writeBeside(async (db) => {
      const opened = await rooms.entries.open(db, { ...session, changes: asks ? asked : undefined });
      if (!opened) return { changes: await whyNotOpened(rooms, db, call, asks ? asked : undefined) };
      const now = userId === null ? ANONYMOUS : { ...opened, userId };
      checkRules(rooms, trail, view, channel, now);
      return { sessionId: opened.id };
    });
    if (outcome.sessionId !== undefined) {
      trail.sessionId = outcome.sessionId;
      return;
    }
    asked = outcome.changes;
    const now = userId === null ? ANONYMOUS : await rooms.rights.subject(rooms.database.db, userId);
    if (channel !== undefined)
      await askChannel(trail, rooms.channels.require(channel), userOf(now, rooms.permissions, trail));
  }
}

/**
 * @returns how many changes have been recorded, where somebody must be asked again
 * @throws RefusedError for what asking again does not change
 */
async function whyNotOpened(
  rooms: Rooms,
  db: Kysely<Tables>,
  { connectionId, token }: ConnectCall,
  asked: number | undefined,
): Promise<number> {
  if (token !== undefined && !(await rooms.tokens.stands(db, token))) {
    throw new RefusedError("The login ended while the socket was connecting.", { reason: "login" });
  }
  const changes = await rooms.evictions.changes(db);
  if (asked !== undefined && changes !== asked) return changes;
  throw malformed(`Connection ${connectionId} has already been opened.`);
}

/** The peer's address and the block of addresses that is limited together. */
function sourceOf(
  rooms: Rooms,
  call: ConnectCall,
  http: HttpCall,
): { text: string | undefined; block: string } {
  const text = rooms.trustProxy === 0 ? call.sourceIp : forwardedFor(http, rooms.trustProxy);
  const block = text === undefined ? undefined : addressBlock(text);
  if (block !== undefined) return { text, block };
  const { connectsPerIp, failedConnectsPerIp } = rooms.limits;
  if (connectsPerIp === false && failedConnectsPerIp === false) return { text: undefined, block: "any" };
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
