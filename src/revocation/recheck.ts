import { createDecisionContext, type DecisionContext } from "../audit/decision.ts";
import { requireChannelRules, requireRule, runChannelAuthorize } from "../auth/authorize.ts";
import type { ConnectionRow, ConnectionWithChannels } from "../connections/connections.ts";
import { RefusedError } from "../errors.ts";
import type { Services } from "../services.ts";
import { userOf } from "../views/user.ts";

/** What a session may still have. `foreign`: its view or channel is another app's to judge. */
export type RecheckResult =
  | { readonly kind: "stands" }
  | { readonly kind: "foreign" }
  | { readonly kind: "lost"; readonly refusal: RefusedError; readonly context: DecisionContext };

const STANDS: RecheckResult = { kind: "stands" };
const FOREIGN: RecheckResult = { kind: "foreign" };

/** Whether a session may keep its view, with the rights that were read together with it. */
export function recheckView(services: Services, connection: ConnectionWithChannels): RecheckResult {
  const view = services.views.get(connection.view);
  if (!view) return FOREIGN;
  const context = decisionContextOf(connection);
  try {
    requireRule(context, view.name, view.rule, connection);
    return STANDS;
  } catch (error) {
    return lost(error, context);
  }
}

/** Whether a session may stay in a channel as far as its rules say: by rights alone. */
export function recheckChannelRules(
  services: Services,
  connection: ConnectionWithChannels,
  name: string,
): RecheckResult {
  const channel = services.channels.match(name);
  if (!channel) return FOREIGN;
  const context = decisionContextOf(connection);
  context.channel = name;
  try {
    requireChannelRules(context, channel, connection);
    return STANDS;
  } catch (error) {
    return lost(error, context);
  }
}

/** How long the author's hooks may take about one session in one channel before their silence is a no, in milliseconds. */
export const HOOK_DEADLINE_MS = 5000;

/**
 * Whether a session may stay in a channel: its rules, and every `authorize`. A hook that fails has not said yes, nor has one
 * that is silent for too long.
 */
export async function recheckChannel(
  services: Services,
  connection: ConnectionWithChannels,
  name: string,
  deadlineMs: number,
): Promise<RecheckResult> {
  const channel = services.channels.match(name);
  if (!channel) return FOREIGN;
  const context = decisionContextOf(connection);
  context.channel = name;
  try {
    requireChannelRules(context, channel, connection);
    const asking = runChannelAuthorize(context, channel, userOf(connection, services.permissions, context));
    await withTimeout(
      deadlineMs,
      asking,
      `authorize of channel "${name}" has not answered for ${deadlineMs} ms.`,
    );
    return STANDS;
  } catch (error) {
    if (error instanceof RefusedError) return lost(error, context);
    services.onError(error, `authorize of channel "${name}"`);
    const failed = new RefusedError(`authorize of channel "${name}" failed: ${error}`, {
      reason: "authorize",
    });
    return lost(failed, context);
  }
}

/** @throws Error with these words when nothing has come of it in time */
export async function withTimeout<Result>(
  timeMs: number,
  work: Promise<Result>,
  words: string,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(words)), timeMs);
  });
  try {
    return await Promise.race([work, silence]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}

function lost(error: unknown, context: DecisionContext): RecheckResult {
  if (error instanceof RefusedError) return { kind: "lost", refusal: error, context };
  throw error;
}

/** What a decision about an open socket, and not about an event from it, tells of whose it was. */
export function decisionContextOf(
  connection: ConnectionRow,
  event: "eviction" | "delivery" = "eviction",
): DecisionContext {
  const context = createDecisionContext(event, connection.view);
  context.view = connection.view;
  context.connectionKey = connection.id;
  context.connectionId = connection.connectionId;
  if (connection.userId !== null) context.userId = connection.userId;
  if (connection.sessionId !== null) context.sessionId = connection.sessionId;
  return context;
}
