import type { DecisionContext } from "../audit/decision.ts";
import { authenticatedUser } from "../auth/authenticated-user.ts";
import { requireChannelRules, requireRule, runChannelAuthorize } from "../auth/authorize.ts";
import { sessionEnded } from "../auth/ended-sessions.ts";
import { describeReached, limitKey } from "../auth/limit-keys.ts";
import { reachedLimit } from "../auth/limits.ts";
import type { OriginDecision } from "../auth/origins.ts";
import { ForbiddenError, malformedRequest, UnauthorizedError } from "../errors.ts";
import { readJson } from "../protocol/body.ts";
import type { TokenBody } from "../protocol/frames.ts";
import type { HttpRequest } from "../protocol/http.ts";
import type { EventServices } from "../services.ts";
import type { EndedSessionCheck } from "../storage/stores/sessions.ts";
import type { TokenGrant } from "../storage/stores/tokens.ts";
import type { Subject } from "../storage/stores/users.ts";
import { checkChannelName } from "../views/channels.ts";
import { userOf } from "../views/user.ts";
import { requireConnectionSlot } from "./connection-probes.ts";

/** Maximum size of the body of a token request, in bytes. */
const MAX_BODY_BYTES = 4096;

interface TokenRequest {
  /** Path of the view that the token is for. Default: any view. */
  readonly view?: unknown;
  /** The channel that the token is for. Default: any channel, or none. */
  readonly channel?: unknown;
  /** Name of the gateway that the token is for. Default: each gateway of the view. */
  readonly gateway?: unknown;
}

/**
 * Issues a single-use token for `$connect` to the page of a signed-in user.
 *
 * A browser cannot read why a handshake was denied. Therefore, a request that names a view and a
 * channel is denied here if `$connect` would deny them.
 *
 * @param page the origin of the page, and whether it is allowed
 * @throws RequestError if a check fails
 */
export async function issueToken(
  services: EventServices,
  http: HttpRequest,
  page: OriginDecision,
  context: DecisionContext,
): Promise<TokenBody> {
  const identity = await authenticatedUser(services.auth, http.request);
  if (!identity) {
    throw new UnauthorizedError(
      "The token request belongs to no session, because authenticate() returned null. Sign in first. If the user is signed in, check authenticate() and mount the session before Sallyport.",
      {
        reason: "anonymous",
        clientMessage: "Authentication required.",
      },
    );
  }
  const { userId, sessionId } = identity;
  context.userId = userId;
  if (sessionId !== null) context.sessionId = sessionId;
  const { origin } = page;
  if (origin !== undefined) context.origin = origin.slice(0, 500);
  services.auth.origins.require(page);
  const request: TokenRequest = (await readJson(http, MAX_BODY_BYTES)) ?? {};

  const subject = await admit(services, userId, services.auth.endedSessions.checkOf(identity), request);
  const scope = await checkScope(services, request, subject, context);
  if (scope.view !== null) await requireConnectionSlot(services, scope.view, userId);

  const gatewayId = await gatewayFor(services, request, scope.view);
  const grant = { userId, sessionId, origin: origin ?? null, gatewayId, ...scope };
  // The session can have ended since it was checked, so it is checked again with the insert.
  const token = await services.auth.tokens.issue(grant, services.auth.endedSessions.checkOf(identity));
  // With this binding, $connect does not check the session, so it is checked again here.
  const current =
    services.auth.tokenBinding === "token" ? await authenticatedUser(services.auth, http.request) : identity;
  if (current?.userId !== userId || current.sessionId !== sessionId) {
    await services.auth.tokens.delete(token);
    throw new ForbiddenError("The session ended while the token was created. Sign in again.", {
      reason: "session",
    });
  }
  return { token, expires_in: services.auth.tokens.expiresInSeconds };
}

/**
 * Checks the session of a token request, and counts the request. It stays counted if a later check
 * fails.
 *
 * @returns the user with permissions
 * @throws RequestError if the session has ended, or the limit of the user is reached
 */
async function admit(
  services: EventServices,
  userId: string,
  session: EndedSessionCheck | null,
  request: TokenRequest,
): Promise<Subject> {
  const { value: limit, view } = services.limits.settings.at(request.view, "tokensPerUser");
  const key = limitKey({ limit: "tokensPerUser", subject: userId, gatewayId: null, view });
  const counted = limit === false ? undefined : { key, limit };
  const admission = await services.store.tokens.admit({ userId, session, counted });
  switch (admission.kind) {
    case "admitted":
      return admission.subject;
    case "session-ended":
      throw sessionEnded();
    case "limited":
      throw reachedLimit(describeReached(key), counted?.limit ?? 0, admission.leftMs);
  }
}

/**
 * Checks whether the view and the channel of a token request would be allowed at `$connect`.
 *
 * @returns the view and channel that the token is limited to. The default channel of a view is not
 *   included, so that the client can connect with another one
 */
async function checkScope(
  services: EventServices,
  request: TokenRequest,
  subject: Subject,
  context: DecisionContext,
): Promise<Pick<TokenGrant, "view" | "channel">> {
  if (!subject.isActive) {
    throw new ForbiddenError(`User ${subject.userId} is inactive. Activate the user to allow connections.`, {
      reason: "inactive",
    });
  }
  let name = request.channel;
  if (request.view !== undefined) {
    if (typeof request.view !== "string")
      throw malformedRequest(`"view" must be the path of a view, not ${typeof request.view}.`);
    context.view = request.view.slice(0, 200);
    const view = services.definitions.views.get(request.view);
    if (!view)
      throw new ForbiddenError(
        `No view is mounted at ${JSON.stringify(context.view)}. Send the path of a view in the "views" option.`,
        { reason: "view" },
      );
    requireRule(context, view.name, view.rule, subject);
    name ??= view.defaultChannel;
  }
  const view = request.view ?? null;
  if (name === undefined || name === null || name === "") return { view, channel: null };
  checkChannelName(name);
  context.channel = name;
  const channel = services.definitions.channels.require(name);
  requireChannelRules(context, channel, subject);
  await runChannelAuthorize(context, channel, userOf(subject, services.definitions.permissions, context));
  return { view, channel: request.channel === name ? name : null };
}

/**
 * Returns the gateway of a token that is not bound to a session, or null if the token is for a view.
 *
 * Such a token must not work everywhere. `$connect` accepts a token with a view at that view only,
 * so it needs no gateway.
 */
async function gatewayFor(
  services: EventServices,
  { gateway: name }: TokenRequest,
  view: string | null,
): Promise<string | null> {
  if (services.auth.tokenBinding !== "token") return null;
  if (name === undefined && view !== null) return null;
  const gateways = await services.auth.gateways.refresh();
  if (name === undefined && gateways.length === 1) return gateways[0]?.id ?? null;
  const named = gateways.find((gateway) => gateway.name === name);
  if (named) return named.id;
  if (name !== undefined) {
    throw malformedRequest(
      `No gateway named ${JSON.stringify(name).slice(0, 200)} is registered. Send the name of a registered gateway.`,
      "Unknown gateway.",
    );
  }
  throw malformedRequest(
    `The token request names no view. With token: { binding: "token" } and ${gateways.length} gateways, the token ` +
      'must be for one view. Set the option "view" of connect(), or add { "view": "/ws/…" } to the request.',
    'Name a view. Set the option "view" of connect().',
  );
}
