import { RefusedError } from "../errors.ts";
import type { User } from "../view/context.ts";
import type { MatchedChannel } from "./channels.ts";
import { note, type Trail } from "./decisions.ts";
import { judge, type Rule, type Subject, type Verdict } from "./rules.ts";

/**
 * Demands that a subject meets a rule, and notes question and answer on the trail.
 *
 * @param what whose rule, such as `ChatView.delete_message`
 * @throws RefusedError when it does not
 */
export function demand(trail: Trail, what: string, rule: Rule, subject: Subject): void {
  const verdict = judge(rule, subject);
  note(trail, { kind: "rule", what, rule, subject, verdict });
  if (!verdict.allowed) throw refusedBy(verdict, what);
}

/** Every matching rule of a channel, by rights alone. @throws RefusedError */
export function demandChannel(trail: Trail, channel: MatchedChannel, subject: Subject): void {
  for (const rule of channel.rules) demand(trail, `channel "${channel.name}"`, rule, subject);
}

/** What a sender needs on top of the channel's rules. @throws RefusedError */
export function demandSending(trail: Trail, channel: MatchedChannel, subject: Subject): void {
  for (const rule of channel.sendRules) demand(trail, `sending to channel "${channel.name}"`, rule, subject);
}

/** The author's word about the data itself. @throws RefusedError unless every hook says `true` */
export async function askChannel(trail: Trail, channel: MatchedChannel, user: User): Promise<void> {
  const what = `authorize of channel "${channel.name}"`;
  for (const authorize of channel.authorize) await ask(trail, what, () => authorize(user));
}

/** One hook of the author's. @throws RefusedError unless it says `true` */
export async function ask(trail: Trail, what: string, hook: () => boolean | Promise<boolean>): Promise<void> {
  let allowed = false;
  try {
    allowed = (await hook()) === true;
  } finally {
    note(trail, { kind: "authorize", what, allowed });
  }
  if (!allowed) throw new RefusedError(`${what} said no.`, { reason: "authorize" });
}

/** The refusal that a verdict means. The peer hears the generic words whatever the reason. */
function refusedBy(verdict: Exclude<Verdict, { allowed: true }>, what: string): RefusedError {
  const { reason, missing } = verdict;
  const why = {
    anonymous: `${what} needs a signed-in user.`,
    inactive: `The user is inactive, and ${what} is for active users.`,
    permission: `${what} needs ${missing.join(" or ")}.`,
  };
  return new RefusedError(why[reason], { reason, missing });
}
