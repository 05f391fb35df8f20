import * as v from "valibot";
import {
  createDecisionContext,
  type DecisionContext,
  type DecisionStep,
  publicStep,
} from "../audit/decision.ts";
import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import { optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import { checkUserId } from "../permissions/grants.ts";
import { ANONYMOUS, evaluateRule, evaluateRules, type Rule, type Subject } from "../permissions/rules.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import type { Services } from "../services.ts";
import type { EffectiveGrant } from "../storage/sql/effective-permissions.ts";
import type { MatchedChannel } from "../views/channels.ts";
import type { MountedHandler, MountedView } from "../views/mount.ts";
import { userOf } from "../views/user.ts";

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
export interface UserWithPermission {
  readonly user: string;
  readonly isSuperuser: boolean;
  /** The grants of this permission; empty for a superuser who has it as such. */
  readonly grants: readonly EffectiveGrant[];
}

/** Everything of the app that a user can reach by rules now. `asksData`: a hook about the data itself has the last word. */
export interface UserAccess {
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
export async function explain(services: Services, question: AccessQuestion): Promise<Explanation> {
  const { user } = parseOptions("why()", ACCESS_QUESTION, question);
  const view = requireView(services, question.view);
  const handler = question.handler === undefined ? undefined : requireHandler(view, question.handler);
  const channel = question.channel === undefined ? undefined : requireChannel(services, question.channel);
  const subject = await subjectOf(services, user);
  const context = createDecisionContext("message", view.path);
  askRule(context, view.name, view.rule, subject);
  if (handler) askRule(context, `${view.name}.${handler.name}`, handler.rule, subject);
  if (channel) {
    for (const rule of channel.rules) askRule(context, `channel "${channel.name}"`, rule, subject);
    await askHooks(services, context, channel, subject);
  }
  const unasked = handler?.authorize ? [`authorize of ${view.name}.${handler.name}`] : [];
  const steps = context.steps.map(publicStep);
  const no = steps.find((step) => !step.allowed);
  const missing = no?.kind === "rule" ? no.missing : [];
  const message = no ? refusalOf(no) : "Every rule says yes.";
  return { user, verdict: no ? "refused" : "allowed", message, missing, steps, unasked };
}

/** Users who have a permission now, each with where it comes from; active ones and superusers. */
export async function whoCan(
  services: Services,
  permission: Permission,
): Promise<readonly UserWithPermission[]> {
  services.permissions.parse(permission);
  const holders: UserWithPermission[] = [];
  for await (const page of services.userPermissions.pages(services.database.db, {
    kind: "holders",
    permission,
  })) {
    for (const { userId, isSuperuser, grants = [] } of page) {
      if (userId === null) continue;
      const ofThis = grants.filter((grant) => grant.permission === permission);
      holders.push({ user: userId, isSuperuser, grants: ofThis });
    }
  }
  return holders;
}

/** Everything that a user can reach by rules now. */
export async function whatCan(services: Services, user: string | null): Promise<UserAccess> {
  const subject = await subjectOf(services, user);
  const passes = (...rules: Rule[]) => evaluateRules(rules, subject).allowed;
  const held = subject.isSuperuser
    ? services.permissions.list().map(({ name }) => name)
    : subject.permissions;
  return {
    user: subject.userId,
    isActive: subject.isActive,
    isSuperuser: subject.isSuperuser,
    permissions: subject.isActive ? [...new Set<string>([...held, ...subject.permissions])].sort() : [],
    views: [...services.views.values()].map((view) => ({
      path: view.path,
      name: view.name,
      allowed: passes(view.rule),
      handlers: [...view.handlers.values()].map((handler) => ({
        name: handler.name,
        allowed: passes(view.rule, handler.rule),
        asksData: handler.authorize !== undefined,
      })),
    })),
    channels: services.channels.list().map(({ pattern, rule, sendRule, asksData }) => ({
      pattern,
      allowed: passes(rule),
      maySend: passes(rule, sendRule),
      asksData,
    })),
  };
}

/** Of somebody unknown as the gate will see them: the first token makes an active user without rights. */
async function subjectOf(services: Services, user: string | null): Promise<Subject> {
  if (user === null) return ANONYMOUS;
  checkUserId(user);
  const [known] = await services.userPermissions.subjects(
    services.database.db,
    { kind: "user", userId: user },
    "",
  );
  return known ?? { userId: user, isActive: true, isSuperuser: false, permissions: [], grants: [] };
}

function askRule(context: DecisionContext, what: string, rule: Rule, subject: Subject): void {
  context.steps.push({ kind: "rule", what, rule, subject, verdict: evaluateRule(rule, subject) });
}

async function askHooks(
  services: Services,
  context: DecisionContext,
  channel: MatchedChannel,
  subject: Subject,
): Promise<void> {
  const what = `authorize of channel "${channel.name}"`;
  for (const authorize of channel.authorize) {
    context.steps.push({
      kind: "authorize",
      what,
      allowed: (await authorize(userOf(subject, services.permissions))) === true,
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

function requireView(services: Services, path: string): MountedView {
  const view = services.views.get(path);
  if (view) return view;
  throw unknown(
    `No view is mounted at ${JSON.stringify(path)}.${closestMatch(String(path), services.views.keys())}`,
  );
}

function requireHandler(view: MountedView, name: string): MountedHandler {
  const handler = view.handlers.get(name);
  if (handler) return handler;
  throw unknown(
    `${view.name} has no handler ${JSON.stringify(name)} that a socket may call.${closestMatch(String(name), view.handlers.keys())}`,
  );
}

function requireChannel(services: Services, name: string): MatchedChannel {
  const channel = isChannelName(name) ? services.channels.match(name) : undefined;
  if (channel) return channel;
  const patterns = services.channels.list().map(({ pattern }) => pattern);
  throw unknown(
    `No channel definition matches ${JSON.stringify(name)}.${closestMatch(String(name), patterns) || ` There are: ${patterns.join(", ") || "none"}.`}`,
  );
}

function unknown(message: string): ConfigurationError {
  return new ConfigurationError(message, { code: "SALLYPORT_UNKNOWN_NAME" });
}
