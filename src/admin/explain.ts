import * as v from "valibot";
import type { MatchedChannel } from "../access/channels.ts";
import { type DecisionStep, newTrail, stepOf, type Trail } from "../access/decisions.ts";
import { checkUserId } from "../access/grants.ts";
import type { Permission } from "../access/permissions.ts";
import { ANONYMOUS, judge, judgeAll, type Rule, type Subject } from "../access/rules.ts";
import { userOf } from "../access/user.ts";
import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import { optionsOf, parseOptions } from "../options.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import type { HeldGrant } from "../sessions/rights-of.ts";
import type { MountedHandler, MountedView } from "./mount-views.ts";
import type { Rooms } from "./rooms.ts";

/** Would the gate let this user do this now? */
export interface AccessQuestion {
  /** The app's own id; null for somebody who has not signed in. */
  readonly user: string | null;
  /** Path of a mounted view. */
  readonly view: string;
  readonly handler?: string | undefined;
  readonly channel?: string | undefined;
}

const ACCESS_QUESTION = optionsOf<AccessQuestion>()({
  // Whether a user, view, handler or channel of that name exists is checked with the question.
  user: v.custom<string | null>(
    (value) => value === null || typeof value === "string",
    "must be a user id, or null for a user who is not signed in",
  ),
  view: v.string("must be the path of a view"),
  handler: v.optional(v.string("must be the name of a handler")),
  channel: v.optional(v.string("must be the name of a channel")),
});

/** The answer, with every rule that was asked, also those after the first no. */
export interface Explanation {
  readonly user: string | null;
  readonly verdict: "allowed" | "refused";
  /** One sentence: what decided. */
  readonly message: string;
  readonly missing: readonly string[];
  readonly steps: readonly DecisionStep[];
  /** Hooks that need a message to be asked, so that only a real one can tell. */
  readonly unasked: readonly string[];
}

/** A user with where a permission comes from. */
export interface PermissionHolder {
  readonly user: string;
  readonly isSuperuser: boolean;
  /** The grants of this permission; empty for a superuser who has it as such. */
  readonly grants: readonly HeldGrant[];
}

/** Everything of the app that a user can reach by rules now. `asksData`: a hook about the data itself has the last word. */
export interface Reach {
  readonly user: string | null;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  /** Effective permissions. */
  readonly permissions: readonly string[];
  readonly views: readonly {
    readonly path: string;
    readonly name: string;
    readonly allowed: boolean;
    readonly handlers: readonly {
      readonly name: string;
      readonly allowed: boolean;
      readonly asksData: boolean;
    }[];
  }[];
  readonly channels: readonly {
    readonly pattern: string;
    readonly allowed: boolean;
    readonly maySend: boolean;
    readonly asksData: boolean;
  }[];
}

/** Asks every rule that stands before something, for a user as of now. Channel hooks are asked, those of handlers cannot be. */
export async function explain(rooms: Rooms, question: AccessQuestion): Promise<Explanation> {
  const { user } = parseOptions("why()", ACCESS_QUESTION, question);
  const view = requireView(rooms, question.view);
  const handler = question.handler === undefined ? undefined : requireHandler(view, question.handler);
  const channel = question.channel === undefined ? undefined : requireChannel(rooms, question.channel);
  const subject = await subjectOf(rooms, user);
  const trail = newTrail("message", view.path);
  askRule(trail, view.name, view.rule, subject);
  if (handler) askRule(trail, `${view.name}.${handler.name}`, handler.rule, subject);
  if (channel) {
    for (const rule of channel.rules) askRule(trail, `channel "${channel.name}"`, rule, subject);
    await askHooks(rooms, trail, channel, subject);
  }
  const unasked = handler?.authorize ? [`authorize of ${view.name}.${handler.name}`] : [];
  const steps = trail.steps.map(stepOf);
  const no = steps.find((step) => !step.allowed);
  const missing = no?.kind === "rule" ? no.missing : [];
  const message = no ? refusalOf(no) : "Every rule says yes.";
  return { user, verdict: no ? "refused" : "allowed", message, missing, steps, unasked };
}

/** Users who have a permission now, each with where it comes from; active ones and superusers. */
export async function whoCan(rooms: Rooms, permission: Permission): Promise<readonly PermissionHolder[]> {
  rooms.permissions.parse(permission);
  const holders: PermissionHolder[] = [];
  for await (const page of rooms.rights.pages(rooms.database.db, { kind: "holders", permission })) {
    for (const { userId, isSuperuser, grants = [] } of page) {
      if (userId === null) continue;
      const ofThis = grants.filter((grant) => grant.permission === permission);
      holders.push({ user: userId, isSuperuser, grants: ofThis });
    }
  }
  return holders;
}

/** Everything that a user can reach by rules now. */
export async function whatCan(rooms: Rooms, user: string | null): Promise<Reach> {
  const subject = await subjectOf(rooms, user);
  const passes = (...rules: Rule[]) => judgeAll(rules, subject).allowed;
  const held = subject.isSuperuser ? rooms.permissions.list().map(({ name }) => name) : subject.permissions;
  return {
    user: subject.userId,
    isActive: subject.isActive,
    isSuperuser: subject.isSuperuser,
    permissions: subject.isActive ? [...new Set<string>([...held, ...subject.permissions])].sort() : [],
    views: [...rooms.views.values()].map((view) => ({
      path: view.path,
      name: view.name,
      allowed: passes(view.rule),
      handlers: [...view.handlers.values()].map((handler) => ({
        name: handler.name,
        allowed: passes(view.rule, handler.rule),
        asksData: handler.authorize !== undefined,
      })),
    })),
    channels: rooms.channels.list().map(({ pattern, rule, sendRule, asksData }) => ({
      pattern,
      allowed: passes(rule),
      maySend: passes(rule, sendRule),
      asksData,
    })),
  };
}

/** Of somebody unknown as the gate will see them: the first token makes an active user without rights. */
async function subjectOf(rooms: Rooms, user: string | null): Promise<Subject> {
  if (user === null) return ANONYMOUS;
  checkUserId(user);
  const [known] = await rooms.rights.subjects(rooms.database.db, { kind: "user", userId: user }, "");
  return known ?? { userId: user, isActive: true, isSuperuser: false, permissions: [], grants: [] };
}

function askRule(trail: Trail, what: string, rule: Rule, subject: Subject): void {
  trail.steps.push({ kind: "rule", what, rule, subject, verdict: judge(rule, subject) });
}

async function askHooks(
  rooms: Rooms,
  trail: Trail,
  channel: MatchedChannel,
  subject: Subject,
): Promise<void> {
  const what = `authorize of channel "${channel.name}"`;
  for (const authorize of channel.authorize) {
    trail.steps.push({
      kind: "authorize",
      what,
      allowed: (await authorize(userOf(subject, rooms.permissions))) === true,
    });
  }
}

/** Why a step said no, in a sentence. */
export function refusalOf(step: DecisionStep): string {
  if (step.kind === "authorize") return `${step.what} said no.`;
  if (step.subject.userId === null) return `${step.what} needs a signed-in user.`;
  if (!step.subject.isActive) return `The user is inactive, and ${step.what} is for active users.`;
  return `${step.what} needs ${step.missing.join(" or ")}.`;
}

function requireView(rooms: Rooms, path: string): MountedView {
  const view = rooms.views.get(path);
  if (view) return view;
  throw unknown(
    `No view is mounted at ${JSON.stringify(path)}.${closestMatch(String(path), rooms.views.keys())}`,
  );
}

function requireHandler(view: MountedView, name: string): MountedHandler {
  const handler = view.handlers.get(name);
  if (handler) return handler;
  throw unknown(
    `${view.name} has no handler ${JSON.stringify(name)} that a socket may call.${closestMatch(String(name), view.handlers.keys())}`,
  );
}

function requireChannel(rooms: Rooms, name: string): MatchedChannel {
  const channel = isChannelName(name) ? rooms.channels.match(name) : undefined;
  if (channel) return channel;
  const patterns = rooms.channels.list().map(({ pattern }) => pattern);
  throw unknown(
    `No channel definition matches ${JSON.stringify(name)}.${closestMatch(String(name), patterns) || ` There are: ${patterns.join(", ") || "none"}.`}`,
  );
}

function unknown(message: string): ConfigurationError {
  return new ConfigurationError(message, { code: "SALLYPORT_UNKNOWN_NAME" });
}
