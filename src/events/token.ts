import { checkChannelName } from "../access/channels.ts";
import type { Trail } from "../access/decisions.ts";
import { askChannel, demand, demandChannel } from "../access/guard.ts";
import { limitKey } from "../access/limit-keys.ts";
import type { OriginDecision } from "../access/origins.ts";
import type { Subject } from "../access/rules.ts";
import type { TokenGrant } from "../access/tokens.ts";
import { userOf } from "../access/user.ts";
import { malformed, RefusedError } from "../errors.ts";
import { readJson } from "../protocol/body.ts";
import type { TokenBody } from "../protocol/frames.ts";
import type { HttpCall } from "../protocol/http-call.ts";
import { requireConnectionSlot } from "./connection-slots.ts";
import { authenticatedUser } from "./identity.ts";
import { refusable } from "./refusable.ts";
import type { Rooms } from "./rooms.ts";

/** Largest body of a token request, in bytes. */
const MAX_BODY_BYTES = 4096;

interface TokenRequest {
  /** Path of the view that the token shall open. Without it: any. */
  readonly view?: unknown;
  /** The channel that the token shall open. Without it: any, and none. */
  readonly channel?: unknown;
  readonly gateway?: unknown;
}

/**
 * Issues a token for one connect to the page of a signed-in user.
 *
 * A browser cannot see why a handshake was refused, so a request that names the view and channel it wants is
 * told here whether the gate would let it in.
 *
 * @param page whether the page of the request may connect
 */
export async function issueToken(
  rooms: Rooms,
  http: HttpCall,
  page: OriginDecision,
  trail: Trail,
): Promise<TokenBody> {
  const identity = await authenticatedUser(rooms, http.request);
  if (!identity) {
    throw new RefusedError("The token request belongs to no session: authenticate() returned null.", {
      reason: "anonymous",
      status: 401,
      reply: "Authentication required.",
    });
  }
  const { userId, loginId } = identity;
  trail.userId = userId;
  if (loginId !== null) trail.loginId = loginId;
  const { origin } = page;
  if (origin !== undefined) trail.origin = origin.slice(0, 500);
  rooms.origins.require(page);
  const wanted: TokenRequest = (await readJson(http, MAX_BODY_BYTES)) ?? {};

  const subject = await refusable(rooms, async (db) => {
    await rooms.endedSessions.requireOpen(db, identity);
    await rooms.grants.know(db, userId);
    const { value, view } = rooms.limits.at(wanted.view, "tokensPerUser");
    const key = limitKey({ limit: "tokensPerUser", subject: userId, gatewayId: null, view });
    await rooms.rateLimits.take(db, key, value);
    return rooms.rights.subject(db, userId);
  });
  const scope = await checkWanted(rooms, wanted, subject, trail);
  if (scope.view !== null) await requireConnectionSlot(rooms, scope.view, userId);

  const gatewayId = await gatewayFor(rooms, wanted);
  const grant = { userId, loginId, origin: origin ?? null, gatewayId, ...scope };
  const token = await rooms.database.writeBeside(async (db) => {
    // The session can have ended since it was checked. This transaction runs either before or after the one that ends it.
    await rooms.endedSessions.requireOpen(db, identity);
    return rooms.tokens.issue(db, grant);
  });
  // Without a login at $connect, nothing else would notice one that ended while the token was made.
  if (rooms.tokenBinding === "token" && (await authenticatedUser(rooms, http.request))?.loginId !== loginId) {
    await rooms.database.writeBeside((db) => rooms.tokens.forget(db, { token }));
    throw new RefusedError("The login ended while the token was made.", { reason: "login" });
  }
  return { token, expires_in: rooms.tokenExpirySeconds };
}

/**
 * Checks whether the view and the channel of a token request would be allowed at `$connect`.
 *
 * @returns what the token is narrowed to. A view's default channel is not part of it: the client can still connect with another one
 */
async function checkWanted(
  rooms: Rooms,
  wanted: TokenRequest,
  subject: Subject,
  trail: Trail,
): Promise<Pick<TokenGrant, "view" | "channel">> {
  if (!subject.isActive) {
    throw new RefusedError("The user is inactive.", { reason: "inactive" });
  }
  let name = wanted.channel;
  if (wanted.view !== undefined) {
    if (typeof wanted.view !== "string") throw malformed("The view is named by its path.");
    trail.view = wanted.view.slice(0, 200);
    const view = rooms.views.get(wanted.view);
    if (!view)
      throw new RefusedError(`No view is mounted at ${JSON.stringify(trail.view)}.`, { reason: "view" });
    demand(trail, view.name, view.rule, subject);
    name ??= view.defaultChannel;
  }
  const view = wanted.view ?? null;
  if (name === undefined || name === null || name === "") return { view, channel: null };
  checkChannelName(name);
  trail.channel = name;
  const channel = rooms.channels.require(name);
  demandChannel(trail, channel, subject);
  await askChannel(trail, channel, userOf(subject, rooms.permissions, trail));
  return { view, channel: wanted.channel === name ? name : null };
}

/** A token that stands without a login is good at one gateway only. */
async function gatewayFor(rooms: Rooms, wanted: TokenRequest): Promise<string | null> {
  if (rooms.tokenBinding !== "token") return null;
  const gateways = await rooms.gateways.listAnew();
  if (wanted.gateway === undefined && gateways.length === 1) return gateways[0]?.id ?? null;
  const named = gateways.find((gateway) => gateway.name === wanted.gateway);
  if (named) return named.id;
  if (wanted.gateway !== undefined) {
    throw malformed(
      `There is no gateway ${JSON.stringify(wanted.gateway).slice(0, 200)}.`,
      "Unknown gateway.",
    );
  }
  throw malformed(
    `With token: { binding: "token" } and ${gateways.length} gateways, the request must name one: { "gateway": "…" }.`,
    "Name a gateway.",
  );
}
