import { type DecisionContext, recordStep } from "../audit/decision.ts";
import { RefusedError } from "../errors.ts";
import { evaluateRule, type Rule, type RuleResult, type Subject } from "../permissions/rules.ts";
import type { MatchedChannel } from "../views/channels.ts";
import type { User } from "../views/context.ts";

/**
 * Demands that a subject meets a rule, and notes question and answer on the trail.
 *
 * @param what whose rule, such as `ChatView.delete_message`
 * @throws RefusedError when it does not
 */
export function requireRule(context: DecisionContext, what: string, rule: Rule, subject: Subject): void {
  const verdict = evaluateRule(rule, subject);
  recordStep(context, { kind: "rule", what, rule, subject, verdict });
  if (!verdict.allowed) throw denialOf(verdict, what);
}

/** Every matching rule of a channel, by rights alone. @throws RefusedError */
export function requireChannelRules(
  context: DecisionContext,
  channel: MatchedChannel,
  subject: Subject,
): void {
  for (const rule of channel.rules) requireRule(context, `channel "${channel.name}"`, rule, subject);
}

/** What a sender needs on top of the channel's rules. @throws RefusedError */
export function requireSendRules(context: DecisionContext, channel: MatchedChannel, subject: Subject): void {
  for (const rule of channel.sendRules)
    requireRule(context, `sending to channel "${channel.name}"`, rule, subject);
}

/** The author's word about the data itself. @throws RefusedError unless every hook says `true` */
export async function runChannelAuthorize(
  context: DecisionContext,
  channel: MatchedChannel,
  user: User,
): Promise<void> {
  const what = `authorize of channel "${channel.name}"`;
  for (const authorize of channel.authorize) await runAuthorize(context, what, () => authorize(user));
}

/** One hook of the author's. @throws RefusedError unless it says `true` */
export async function runAuthorize(
  context: DecisionContext,
  what: string,
  hook: () => boolean | Promise<boolean>,
): Promise<void> {
  let allowed = false;
  try {
    allowed = (await hook()) === true;
  } finally {
    recordStep(context, { kind: "authorize", what, allowed });
  }
  if (!allowed) throw new RefusedError(`${what} said no.`, { reason: "authorize" });
}

/** The refusal that a verdict means. The peer hears the generic words whatever the reason. */
function denialOf(verdict: Exclude<RuleResult, { allowed: true }>, what: string): RefusedError {
  const { reason, missing } = verdict;
  const why = {
    anonymous: `${what} needs a signed-in user.`,
    inactive: `The user is inactive, and ${what} is for active users.`,
    permission: `${what} needs ${missing.join(" or ")}.`,
  };
  return new RefusedError(why[reason], { reason, missing });
}
