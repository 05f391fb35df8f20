import { ConfigurationError } from "../errors.ts";
import { type DeclaredRule, parseStoredRules } from "../permissions/declared-rules.ts";
import { evaluateRules, type Rule } from "../permissions/rules.ts";
import { isWider } from "../permissions/widening.ts";
import type { AdminServices } from "../services.ts";
import type { Subject } from "../storage/stores/users.ts";

/** The difference between a declared rule and the stored one. */
export interface RuleChange {
  readonly kind: DeclaredRule["kind"];
  /** Path of the view, path and handler, or channel pattern. */
  readonly name: string;
  readonly change: "added" | "removed" | "changed";
  /** Whether the change can allow a user who was denied before. It need not be a current user. */
  readonly widens: boolean;
  /** The stored rule, or `undefined` if it was added. */
  readonly before: DeclaredRule["rule"] | undefined;
  /** The declared rule, or `undefined` if it was removed. */
  readonly after: DeclaredRule["rule"] | undefined;
  /** Ids of the users who gain access by the change. */
  readonly gains: readonly string[];
  /** Ids of the users who lose access by the change. */
  readonly loses: readonly string[];
}

/** Returns every rule that the code declares, in the form that is compared and stored. */
export function declaredRules(services: AdminServices): readonly DeclaredRule[] {
  const views = [...services.definitions.views.values()].flatMap((view): DeclaredRule[] => [
    { kind: "view", name: view.path, rule: { ...view.rule, hasAuthorize: false } },
    ...[...view.handlers.values()].map(
      (handler): DeclaredRule => ({
        kind: "handler",
        name: `${view.path} ${handler.name}`,
        rule: { ...handler.rule, hasAuthorize: handler.authorize !== undefined },
      }),
    ),
  ]);
  const channels = services.definitions.channels
    .list()
    .flatMap(({ pattern, rule, sendRule, hasAuthorize }): DeclaredRule[] => [
      { kind: "channel", name: pattern, rule: { ...rule, hasAuthorize } },
      { kind: "sending", name: pattern, rule: { ...sendRule, hasAuthorize: false } },
    ]);
  return [...views, ...channels];
}

/**
 * Compares the rules of this code with those that the last `migrate` stored.
 *
 * @returns the changed rules, with the users who gain or lose access by each
 * @throws ConfigurationError if no `migrate` has stored rules yet
 */
export async function compareRules(services: AdminServices): Promise<readonly RuleChange[]> {
  const stored = parseStoredRules(await services.store.changes.rules());
  if (stored.length === 0) {
    throw new ConfigurationError(
      "The rules cannot be compared, because no migrate has stored the rules of the running version yet. " +
        "Run npx sallyport migrate with the version that is running.",
    );
  }
  const changes = changedRules(services, stored);
  const declaredViewRule = (change: RuleChange) =>
    services.definitions.views.get(viewPathOf(change) ?? "")?.rule;
  const storedViewRule = (change: RuleChange) =>
    stored.find(({ kind, name }) => kind === "view" && name === viewPathOf(change))?.rule;
  const gains = changes.map((): string[] => []);
  const loses = changes.map((): string[] => []);
  if (changes.length > 0) {
    for await (const page of services.store.users.pages({ kind: "all" })) {
      for (const subject of page) {
        changes.forEach((change, index) => {
          const had = passes(storedViewRule(change), change.before, subject);
          const has = passes(declaredViewRule(change), change.after, subject);
          if (has && !had) gains[index]?.push(subject.userId ?? "");
          if (had && !has) loses[index]?.push(subject.userId ?? "");
        });
      }
    }
  }
  return changes.map((change, index) => ({
    ...change,
    gains: gains[index] ?? [],
    loses: loses[index] ?? [],
  }));
}

/** Returns whether a subject meets a rule. For a handler, the rule of its view applies too. */
function passes(view: Rule | undefined, rule: Rule | undefined, subject: Subject): boolean {
  return rule !== undefined && evaluateRules(view ? [view, rule] : [rule], subject).allowed;
}

function viewPathOf({ kind, name }: Pick<RuleChange, "kind" | "name">): string | undefined {
  return kind === "handler" ? name.slice(0, name.indexOf(" ")) : undefined;
}

/** Returns the declared rules that differ from the stored ones. */
export function changedRules(
  services: AdminServices,
  stored: readonly DeclaredRule[],
): readonly RuleChange[] {
  const key = ({ kind, name }: DeclaredRule) => `${kind} ${name}`;
  const declared = declaredRules(services);
  const now = new Map(declared.map((rule) => [key(rule), rule]));
  const then = new Map(stored.map((rule) => [key(rule), rule]));
  const none = { gains: [], loses: [] };
  const changes: RuleChange[] = [];
  for (const { kind, name, rule } of declared) {
    const before = then.get(`${kind} ${name}`)?.rule;
    if (!before) {
      // The send rule of a new channel is part of the new channel.
      if (kind !== "sending" || then.has(`channel ${name}`))
        changes.push({ kind, name, change: "added", widens: true, before, after: rule, ...none });
    } else if (JSON.stringify(before) !== JSON.stringify(rule)) {
      const widens = isWider(rule, before) || (before.hasAuthorize && !rule.hasAuthorize);
      changes.push({ kind, name, change: "changed", widens, before, after: rule, ...none });
    }
  }
  for (const { kind, name, rule } of stored) {
    if (now.has(`${kind} ${name}`) || kind === "sending") continue;
    const widens = kind === "channel" && exposesOtherDefinition(services, name);
    changes.push({ kind, name, change: "removed", widens, before: rule, after: undefined, ...none });
  }
  return changes;
}

/**
 * Returns whether the removal of a channel definition can widen access. If another definition
 * matches the same names, those names may now have only the less strict rules.
 */
function exposesOtherDefinition(services: AdminServices, pattern: string): boolean {
  return services.definitions.channels
    .list()
    .some((other) => overlap(pattern.split("/"), other.pattern.split("/")));
}

/** Returns whether a name exists that matches both patterns. */
function overlap(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((part, index) => partsOverlap(part, other[index] ?? ""));
}

function partsOverlap(one: string, other: string): boolean {
  const [prefix = "", parameter] = one.split(":");
  const [otherPrefix = "", otherParameter] = other.split(":");
  if (parameter === undefined && otherParameter === undefined) return prefix === otherPrefix;
  if (parameter === undefined) return prefix.startsWith(otherPrefix) && prefix !== otherPrefix;
  if (otherParameter === undefined) return otherPrefix.startsWith(prefix) && prefix !== otherPrefix;
  return prefix.startsWith(otherPrefix) || otherPrefix.startsWith(prefix);
}
