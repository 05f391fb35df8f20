import { createDecisionContext, type DecisionContext } from "../audit/decision.ts";
import { requireChannelRules, requireRule, runChannelAuthorize } from "../auth/authorize.ts";
import { ForbiddenError, RequestError } from "../errors.ts";
import type { CoreServices } from "../services.ts";
import type { ConnectionRow, ConnectionWithChannels } from "../storage/stores/connections.ts";
import { withTimeout } from "../timing.ts";
import { userOf } from "../views/user.ts";

/** Whether a connection may keep a view or channel. `other-app`: only another app can check it. */
export type RecheckResult =
  | { readonly kind: "allowed" }
  | { readonly kind: "other-app" }
  | { readonly kind: "lost"; readonly denial: RequestError; readonly context: DecisionContext };

const ALLOWED: RecheckResult = { kind: "allowed" };
const OTHER_APP: RecheckResult = { kind: "other-app" };

/**
 * Checks whether a connection may keep its view, with the permissions that were read with its row.
 */
export function recheckView(services: CoreServices, connection: ConnectionWithChannels): RecheckResult {
  const view = services.definitions.views.get(connection.view);
  if (!view) return OTHER_APP;
  const context = decisionContextOf(connection);
  try {
    requireRule(context, view.name, view.rule, connection);
    return ALLOWED;
  } catch (error) {
    return lostResult(error, context);
  }
}

/** Checks whether a connection may stay in a channel, by its rules only. */
export function recheckChannelRules(
  services: CoreServices,
  connection: ConnectionWithChannels,
  name: string,
): RecheckResult {
  const channel = services.definitions.channels.match(name);
  if (!channel) return OTHER_APP;
  const context = decisionContextOf(connection);
  context.channel = name;
  try {
    requireChannelRules(context, channel, connection);
    return ALLOWED;
  } catch (error) {
    return lostResult(error, context);
  }
}

/**
 * Maximum time for all hooks of one connection in one channel, in milliseconds. A timeout denies.
 */
export const HOOK_DEADLINE_MS = 5000;

/**
 * Checks whether a connection may stay in a channel, by its rules and every `authorize`.
 *
 * A hook that fails or times out denies access. The error is reported to `onError`.
 */
export async function recheckChannel(
  services: CoreServices,
  connection: ConnectionWithChannels,
  name: string,
  deadlineMs: number,
): Promise<RecheckResult> {
  const channel = services.definitions.channels.match(name);
  if (!channel) return OTHER_APP;
  const context = decisionContextOf(connection);
  context.channel = name;
  try {
    requireChannelRules(context, channel, connection);
    const authorizing = runChannelAuthorize(
      context,
      channel,
      userOf(connection, services.definitions.permissions, context),
    );
    await withTimeout(
      deadlineMs,
      authorizing,
      `authorize of channel "${name}" did not return within ${deadlineMs} ms. Make it faster.`,
    );
    return ALLOWED;
  } catch (error) {
    if (error instanceof RequestError) return lostResult(error, context);
    services.reports.onError(error, `authorize of channel "${name}"`);
    const denial = new ForbiddenError(
      `authorize of channel "${name}" failed (${error}), so access is denied. Fix the error in the hook.`,
      {
        reason: "authorize",
      },
    );
    return lostResult(denial, context);
  }
}

function lostResult(error: unknown, context: DecisionContext): RecheckResult {
  if (error instanceof RequestError) return { kind: "lost", denial: error, context };
  throw error;
}

/** Creates the context of a decision about an open connection, without an event from its client. */
export function decisionContextOf(
  connection: ConnectionRow,
  event: "revocation" | "delivery" = "revocation",
): DecisionContext {
  const context = createDecisionContext(event, connection.view);
  context.view = connection.view;
  context.connectionKey = connection.id;
  context.connectionId = connection.connectionId;
  if (connection.userId !== null) context.userId = connection.userId;
  if (connection.sessionId !== null) context.sessionId = connection.sessionId;
  return context;
}
