import type { Kysely } from "kysely";
import { ConfigurationError } from "../errors.ts";
import type { DeclaredRule } from "../permissions/declared-rules.ts";
import { evaluateRules, type Rule, type Subject } from "../permissions/rules.ts";
import { isWider } from "../permissions/widening.ts";
import type { Services } from "../services.ts";
import type { Tables } from "../storage/database.ts";

/** How a declared rule differs from the one that is running. */
export interface RuleChange {
  readonly kind: DeclaredRule["kind"];
  readonly name: string;
  readonly change: "added" | "removed" | "changed";
  /** Whether it lets in anybody who was not let in before, among today's users or not. */
  readonly widens: boolean;
  readonly before: DeclaredRule["rule"] | undefined;
  readonly after: DeclaredRule["rule"] | undefined;
  /** Users whom it would let in and the running one does not. Superusers pass both. */
  readonly gains: readonly string[];
  /** Users whom it would keep out and the running one does not. */
  readonly loses: readonly string[];
}

/** Every rule that the code declares, as it is compared and recorded. */
export function declaredRules(services: Services): readonly DeclaredRule[] {
  const views = [...services.views.values()].flatMap((view): DeclaredRule[] => [
    { kind: "view", name: view.path, rule: { ...view.rule, asksData: false } },
    ...[...view.handlers.values()].map(
      (handler): DeclaredRule => ({
        kind: "handler",
        name: `${view.path} ${handler.name}`,
        rule: { ...handler.rule, asksData: handler.authorize !== undefined },
      }),
    ),
  ]);
  const channels = services.channels
    .list()
    .flatMap(({ pattern, rule, sendRule, asksData }): DeclaredRule[] => [
      { kind: "channel", name: pattern, rule: { ...rule, asksData } },
      { kind: "sending", name: pattern, rule: { ...sendRule, asksData: false } },
    ]);
  return [...views, ...channels];
}

/**
 * Compares the rules of this code with those of the code that ran `migrate` last, and tells for every user who would gain
 * or lose by it.
 *
 * @throws ConfigurationError when no `migrate` has recorded any
 */
export async function compareRules(services: Services): Promise<readonly RuleChange[]> {
  const running = await services.declaredRules.list();
  if (running.length === 0) {
    throw new ConfigurationError(
      "There is nothing to compare with: no migrate has recorded the rules of running code yet. Run npx sallyport migrate with the version that is running.",
    );
  }
  const changes = changedRules(services, running);
  const viewNow = (change: RuleChange) => services.views.get(viewPathOf(change) ?? "")?.rule;
  const viewThen = (change: RuleChange) =>
    running.find(({ kind, name }) => kind === "view" && name === viewPathOf(change))?.rule;
  const gains = changes.map((): string[] => []);
  const loses = changes.map((): string[] => []);
  if (changes.length > 0) {
    for await (const page of services.userPermissions.pages(services.database.db, { kind: "all" })) {
      for (const subject of page) {
        changes.forEach((change, index) => {
          const had = passes(viewThen(change), change.before, subject);
          const has = passes(viewNow(change), change.after, subject);
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

/** Records the rules of this code as the running ones. @returns those that differ from what was recorded before */
export async function recordRules(services: Services, db: Kysely<Tables>): Promise<readonly RuleChange[]> {
  const running = await services.declaredRules.list(db);
  const changes = running.length === 0 ? [] : changedRules(services, running);
  await services.declaredRules.record(db, declaredRules(services));
  return changes;
}

/** A handler is reached through its view, so both rules count for it. */
function passes(view: Rule | undefined, rule: Rule | undefined, subject: Subject): boolean {
  return rule !== undefined && evaluateRules(view ? [view, rule] : [rule], subject).allowed;
}

function viewPathOf({ kind, name }: Pick<RuleChange, "kind" | "name">): string | undefined {
  return kind === "handler" ? name.slice(0, name.indexOf(" ")) : undefined;
}

function changedRules(services: Services, running: readonly DeclaredRule[]): readonly RuleChange[] {
  const key = ({ kind, name }: DeclaredRule) => `${kind} ${name}`;
  const declared = declaredRules(services);
  const now = new Map(declared.map((rule) => [key(rule), rule]));
  const then = new Map(running.map((rule) => [key(rule), rule]));
  const none = { gains: [], loses: [] };
  const changes: RuleChange[] = [];
  for (const { kind, name, rule } of declared) {
    const before = then.get(`${kind} ${name}`)?.rule;
    if (!before) {
      // Sending to a channel that is new is part of the channel.
      if (kind !== "sending" || then.has(`channel ${name}`))
        changes.push({ kind, name, change: "added", widens: true, before, after: rule, ...none });
    } else if (JSON.stringify(before) !== JSON.stringify(rule)) {
      const widens = isWider(rule, before) || (before.asksData && !rule.asksData);
      changes.push({ kind, name, change: "changed", widens, before, after: rule, ...none });
    }
  }
  for (const { kind, name, rule } of running) {
    if (now.has(`${kind} ${name}`) || kind === "sending") continue;
    const widens = kind === "channel" && opensAnother(services, name);
    changes.push({ kind, name, change: "removed", widens, before: rule, after: undefined, ...none });
  }
  return changes;
}

/** A definition that goes may have been the stricter of two: names it matched may now be under the other alone. */
function opensAnother(services: Services, pattern: string): boolean {
  return services.channels.list().some((other) => overlap(pattern.split("/"), other.pattern.split("/")));
}

/** Whether some name matches both patterns. */
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
