import * as v from "valibot";
import {
  createDecisionContext,
  type DecisionContext,
  type DecisionStep,
  publicStep,
} from "../audit/decision.ts";
import { authorizeMessage, ruleMessage } from "../auth/denial-message.ts";
import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import { optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import { checkUserId } from "../permissions/grants.ts";
import { ANONYMOUS, evaluateRule, evaluateRules, type Rule } from "../permissions/rules.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import type { AdminServices } from "../services.ts";
import type { EffectiveGrant, Subject } from "../storage/stores/users.ts";
import type { MatchedChannel } from "../views/channels.ts";
import type { MountedHandler, MountedView } from "../views/mount.ts";
import { userOf } from "../views/user.ts";

/** A question: would a user be allowed to use a view, a handler or a channel now? */
export interface AccessQuestion {
  /** User id of the app, or `null` for a client that is not signed in. */
  readonly user: string | null;
  /** Path of a mounted view. */
  readonly view: string;
  /** Name of a handler of the view. Default: no handler is checked. */
  readonly handler?: string | undefined;
  /** Name of a channel. Default: no channel is checked. */
  readonly channel?: string | undefined;
}

const ACCESS_QUESTION = optionsOf<AccessQuestion>()({
  // explain() checks whether the user, view, handler and channel exist.
  user: v.custom<string | null>(
    (value) => value === null || typeof value === "string",
    "must be a user id, or null for a user who is not signed in",
  ),
  view: v.string("must be the path of a view"),
  handler: v.optional(v.string("must be the name of a handler")),
  channel: v.optional(v.string("must be the name of a channel")),
});

/**
 * The result for an {@link AccessQuestion}. It contains every rule, including those after a denial.
 */
export interface Explanation {
  /** User id of the app, or `null` for a client that is not signed in. */
  readonly user: string | null;
  /** `"denied"` if a rule or hook denies access. */
  readonly verdict: "allowed" | "denied";
  /** The reason, in one sentence. */
  readonly message: string;
  /**
   * Permissions that the first failed rule requires. Any or all of them would have allowed access.
   */
  readonly missing: readonly string[];
  /** Every rule and hook that was evaluated, in order. */
  readonly steps: readonly DecisionStep[];
  /** Hooks that were not called, because they need a message. */
  readonly uncalledHooks: readonly string[];
}

/** A user who has a permission, with its grants. */
export interface UserWithPermission {
  /** User id of the app. */
  readonly user: string;
  readonly isSuperuser: boolean;
  /** The grants of this permission, direct or through a group. Can be empty for a superuser. */
  readonly grants: readonly EffectiveGrant[];
}

/**
 * The views, handlers and channels that a user is allowed to use now, by their rules.
 *
 * `hasAuthorize` is `true` if an `authorize` hook decides in addition to the rule.
 */
export interface UserAccess {
  /** User id of the app, or `null` for a client that is not signed in. */
  readonly user: string | null;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  /** Names of the effective permissions, sorted. */
  readonly permissions: readonly string[];
  readonly views: readonly {
    readonly path: string;
    readonly name: string;
    readonly allowed: boolean;
    readonly handlers: readonly {
      readonly name: string;
      readonly allowed: boolean;
      readonly hasAuthorize: boolean;
    }[];
  }[];
  readonly channels: readonly {
    readonly pattern: string;
    readonly allowed: boolean;
    readonly maySend: boolean;
    readonly hasAuthorize: boolean;
  }[];
}

/**
 * Evaluates every rule of a view, handler or channel for a user with the current permissions.
 *
 * Hooks of channels are called. Hooks of handlers are not, because they need a message.
 *
 * @throws ConfigurationError if the view, handler or channel does not exist. The message suggests
 *   the closest name
 */
export async function explain(services: AdminServices, question: AccessQuestion): Promise<Explanation> {
  const { user } = parseOptions("explain()", ACCESS_QUESTION, question);
  const view = requireView(services, question.view);
  const handler = question.handler === undefined ? undefined : requireHandler(view, question.handler);
  const channel = question.channel === undefined ? undefined : requireChannel(services, question.channel);
  const subject = await subjectOf(services, user);
  const context = createDecisionContext("message", view.path);
  addRuleStep(context, view.name, view.rule, subject);
  if (handler) addRuleStep(context, `${view.name}.${handler.name}`, handler.rule, subject);
  if (channel) {
    for (const rule of channel.rules) addRuleStep(context, `channel "${channel.name}"`, rule, subject);
    await addHookSteps(services, context, channel, subject);
  }
  const uncalledHooks = handler?.authorize ? [`authorize of ${view.name}.${handler.name}`] : [];
  const steps = context.steps.map(publicStep);
  const denial = steps.find((step) => !step.allowed);
  const missing = denial?.kind === "rule" ? denial.missing : [];
  const message = denial ? denialMessage(denial) : "Every rule allows access.";
  return { user, verdict: denial ? "denied" : "allowed", message, missing, steps, uncalledHooks };
}

/** Returns the active users who have a permission now, each with its grants. */
export async function listHolders(
  services: AdminServices,
  permission: Permission,
): Promise<readonly UserWithPermission[]> {
  services.definitions.permissions.parse(permission);
  const holders: UserWithPermission[] = [];
  for await (const page of services.store.users.pages({ kind: "holders", permission })) {
    for (const { userId, isSuperuser, grants = [] } of page) {
      if (userId === null) continue;
      const matching = grants.filter((grant) => grant.permission === permission);
      holders.push({ user: userId, isSuperuser, grants: matching });
    }
  }
  return holders;
}

/** Returns the views, handlers and channels that a user is allowed to use now, by their rules. */
export async function getUserAccess(services: AdminServices, user: string | null): Promise<UserAccess> {
  const subject = await subjectOf(services, user);
  const meets = (...rules: Rule[]) => evaluateRules(rules, subject).allowed;
  const names = subject.isSuperuser
    ? services.definitions.permissions.list().map(({ name }) => name)
    : subject.permissions;
  return {
    user: subject.userId,
    isActive: subject.isActive,
    isSuperuser: subject.isSuperuser,
    permissions: subject.isActive ? [...new Set<string>([...names, ...subject.permissions])].sort() : [],
    views: [...services.definitions.views.values()].map((view) => ({
      path: view.path,
      name: view.name,
      allowed: meets(view.rule),
      handlers: [...view.handlers.values()].map((handler) => ({
        name: handler.name,
        allowed: meets(view.rule, handler.rule),
        hasAuthorize: handler.authorize !== undefined,
      })),
    })),
    channels: services.definitions.channels.list().map(({ pattern, rule, sendRule, hasAuthorize }) => ({
      pattern,
      allowed: meets(rule),
      maySend: meets(rule, sendRule),
      hasAuthorize,
    })),
  };
}

/**
 * Returns the state of a user. An unknown user is active without permissions, as after a first
 * token.
 */
async function subjectOf(services: AdminServices, user: string | null): Promise<Subject> {
  if (user === null) return ANONYMOUS;
  checkUserId(user);
  for await (const [found] of services.store.users.pages({ kind: "user", userId: user })) {
    if (found) return found;
  }
  return { userId: user, isActive: true, isSuperuser: false, permissions: [], grants: [] };
}

function addRuleStep(context: DecisionContext, what: string, rule: Rule, subject: Subject): void {
  context.steps.push({ kind: "rule", what, rule, subject, verdict: evaluateRule(rule, subject) });
}

async function addHookSteps(
  services: AdminServices,
  context: DecisionContext,
  channel: MatchedChannel,
  subject: Subject,
): Promise<void> {
  const what = `authorize of channel "${channel.name}"`;
  for (const authorize of channel.authorize) {
    context.steps.push({
      kind: "authorize",
      what,
      allowed: (await authorize(userOf(subject, services.definitions.permissions))) === true,
    });
  }
}

/** Returns why a step denied access, and what to do. */
function denialMessage(step: DecisionStep): string {
  if (step.kind === "authorize") return authorizeMessage(step.what);
  const { what, rule, subject, missing } = step;
  const reason = subject.userId === null ? "anonymous" : subject.isActive ? "permission" : "inactive";
  return ruleMessage({ reason, missing }, what, rule);
}

function requireView(services: AdminServices, path: string): MountedView {
  const view = services.definitions.views.get(path);
  if (view) return view;
  throw unknownName(
    `No view is mounted at ${JSON.stringify(path)}.${suggestion(String(path), [...services.definitions.views.keys()])}`,
  );
}

function requireHandler(view: MountedView, name: string): MountedHandler {
  const handler = view.handlers.get(name);
  if (handler) return handler;
  throw unknownName(
    `${view.name} has no handler ${JSON.stringify(name)} that clients can call.` +
      suggestion(String(name), [...view.handlers.keys()]),
  );
}

function requireChannel(services: AdminServices, name: string): MatchedChannel {
  const channel = isChannelName(name) ? services.definitions.channels.match(name) : undefined;
  if (channel) return channel;
  const patterns = services.definitions.channels.list().map(({ pattern }) => pattern);
  throw unknownName(
    `No channel definition matches ${JSON.stringify(name)}.${suggestion(String(name), patterns)}`,
  );
}

/** Returns the closest name as a question, or a list of all names. */
function suggestion(name: string, names: readonly string[]): string {
  return closestMatch(name, names) || ` Use one of: ${names.join(", ") || "none"}.`;
}

function unknownName(message: string): ConfigurationError {
  return new ConfigurationError(message, { code: "SALLYPORT_UNKNOWN_NAME" });
}
