import { type DecisionContext, recordStep } from "../audit/decision.ts";
import { ForbiddenError, type RequestError } from "../errors.ts";
import { evaluateRule, type Rule, type RuleResult } from "../permissions/rules.ts";
import type { Subject } from "../storage/stores/users.ts";
import type { MatchedChannel } from "../views/channels.ts";
import type { User } from "../views/context.ts";
import { authorizeMessage, ruleMessage } from "./denial-message.ts";

/**
 * Checks a rule for a subject, and records the step.
 *
 * @param what the owner of the rule, such as `ChatView.delete_message`
 * @throws RequestError if the subject does not satisfy the rule
 */
export function requireRule(context: DecisionContext, what: string, rule: Rule, subject: Subject): void {
  const verdict = evaluateRule(rule, subject);
  recordStep(context, { kind: "rule", what, rule, subject, verdict });
  if (!verdict.allowed) throw ruleDenial(verdict, what, rule);
}

/**
 * Checks the permission rules of a channel for a subject. It does not call `authorize`.
 *
 * @throws RequestError if the subject does not satisfy a rule
 */
export function requireChannelRules(
  context: DecisionContext,
  channel: MatchedChannel,
  subject: Subject,
): void {
  for (const rule of channel.rules) requireRule(context, `channel "${channel.name}"`, rule, subject);
}

/**
 * Checks the additional rules for sending to a channel.
 *
 * @throws RequestError if the subject does not satisfy a rule
 */
export function requireSendRules(context: DecisionContext, channel: MatchedChannel, subject: Subject): void {
  for (const rule of channel.sendRules)
    requireRule(context, `sending to channel "${channel.name}"`, rule, subject);
}

/**
 * Calls the `authorize` functions of a channel.
 *
 * @throws RequestError if one of them does not return `true`, or the error that it throws
 */
export async function runChannelAuthorize(
  context: DecisionContext,
  channel: MatchedChannel,
  user: User,
): Promise<void> {
  const what = `authorize of channel "${channel.name}"`;
  for (const authorize of channel.authorize) await runAuthorize(context, what, () => authorize(user));
}

/**
 * Calls an `authorize` function of the app, and records the step.
 *
 * @throws RequestError if it does not return `true`, or the error that it throws
 */
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
  if (!allowed) throw new ForbiddenError(authorizeMessage(what), { reason: "authorize" });
}

/**
 * Maximum number of times that something is checked in a row. A change that affects the user during
 * a check causes the next one.
 */
export const MAX_CHECKS = 20;

/**
 * Returns the error for something that was checked {@link MAX_CHECKS} times.
 *
 * @param next what the client can do, as a sentence
 */
export function tooManyChanges(what: string, next: string): RequestError {
  return new ForbiddenError(
    `${what} was checked ${MAX_CHECKS} times, and each time the permissions of the user or the data of a channel ` +
      `changed during the check. ${next}`,
    { reason: "unstable" },
  );
}

/**
 * Returns the error for a rule that is not satisfied. The client receives the same text for every
 * reason.
 */
function ruleDenial(result: Exclude<RuleResult, { allowed: true }>, what: string, rule: Rule): RequestError {
  const { reason, missing } = result;
  return new ForbiddenError(ruleMessage(result, what, rule), { reason, missing });
}
