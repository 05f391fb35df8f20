import type { DecisionContext } from "../audit/decision.ts";
import { authenticatedUser } from "../auth/authenticated-user.ts";
import { requireChannelRules, requireRule, runChannelAuthorize } from "../auth/authorize.ts";
import { limitKey } from "../auth/limit-keys.ts";
import type { OriginDecision } from "../auth/origins.ts";
import type { TokenGrant } from "../auth/tokens.ts";
import { malformed, RefusedError } from "../errors.ts";
import type { Subject } from "../permissions/rules.ts";
import { readJson } from "../protocol/body.ts";
import type { TokenBody } from "../protocol/frames.ts";
import type { HttpCall } from "../protocol/http-call.ts";
import type { Services } from "../services.ts";
import { commitThenThrow } from "../storage/commit-then-throw.ts";
import { checkChannelName } from "../views/channels.ts";
import { userOf } from "../views/user.ts";
import { requireConnectionSlot } from "./connection-slots.ts";

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
  services: Services,
  http: HttpCall,
  page: OriginDecision,
  context: DecisionContext,
): Promise<TokenBody> {
  const identity = await authenticatedUser(services, http.request);
  if (!identity) {
    throw new RefusedError("The token request belongs to no session: authenticate() returned null.", {
      reason: "anonymous",
      status: 401,
      reply: "Authentication required.",
    });
  }
  const { userId, sessionId } = identity;
  context.userId = userId;
  if (sessionId !== null) context.sessionId = sessionId;
  const { origin } = page;
  if (origin !== undefined) context.origin = origin.slice(0, 500);
  services.origins.require(page);
  const wanted: TokenRequest = (await readJson(http, MAX_BODY_BYTES)) ?? {};

  const subject = await commitThenThrow(services, async (db) => {
    await services.endedSessions.requireOpen(db, identity);
    await services.grants.know(db, userId);
    const { value, view } = services.limits.at(wanted.view, "tokensPerUser");
    const key = limitKey({ limit: "tokensPerUser", subject: userId, gatewayId: null, view });
    await services.rateLimits.take(db, key, value);
    return services.userPermissions.subject(db, userId);
  });
  const scope = await checkWanted(services, wanted, subject, context);
  if (scope.view !== null) await requireConnectionSlot(services, scope.view, userId);

  const gatewayId = await gatewayFor(services, wanted);
  const grant = { userId, sessionId, origin: origin ?? null, gatewayId, ...scope };
  const token = await services.database.sharedTransaction(async (db) => {
    // The session can have ended since it was checked. This transaction runs either before or after the one that ends it.
    await services.endedSessions.requireOpen(db, identity);
    return services.tokens.issue(db, grant);
  });
  // Without a login at $connect, nothing else would notice one that ended while the token was made.
  if (
    services.tokenBinding === "token" &&
    (await authenticatedUser(services, http.request))?.sessionId !== sessionId
  ) {
    await services.database.sharedTransaction((db) => services.tokens.forget(db, { token }));
    throw new RefusedError("The login ended while the token was made.", { reason: "session" });
  }
  return { token, expires_in: services.tokenExpirySeconds };
}

/**
 * Checks whether the view and the channel of a token request would be allowed at `$connect`.
 *
 * @returns what the token is narrowed to. A view's default channel is not part of it: the client can still connect with another one
 */
async function checkWanted(
  services: Services,
  wanted: TokenRequest,
  subject: Subject,
  context: DecisionContext,
): Promise<Pick<TokenGrant, "view" | "channel">> {
  if (!subject.isActive) {
    throw new RefusedError("The user is inactive.", { reason: "inactive" });
  }
  let name = wanted.channel;
  if (wanted.view !== undefined) {
    if (typeof wanted.view !== "string") throw malformed("The view is named by its path.");
    context.view = wanted.view.slice(0, 200);
    const view = services.views.get(wanted.view);
    if (!view)
      throw new RefusedError(`No view is mounted at ${JSON.stringify(context.view)}.`, { reason: "view" });
    requireRule(context, view.name, view.rule, subject);
    name ??= view.defaultChannel;
  }
  const view = wanted.view ?? null;
  if (name === undefined || name === null || name === "") return { view, channel: null };
  checkChannelName(name);
  context.channel = name;
  const channel = services.channels.require(name);
  requireChannelRules(context, channel, subject);
  await runChannelAuthorize(context, channel, userOf(subject, services.permissions, context));
  return { view, channel: wanted.channel === name ? name : null };
}

/** A token that stands without a login is good at one gateway only. */
async function gatewayFor(services: Services, wanted: TokenRequest): Promise<string | null> {
  if (services.tokenBinding !== "token") return null;
  const gateways = await services.gateways.listAnew();
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
