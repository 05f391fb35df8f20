import { randomUUID } from "node:crypto";
import type { Reason, RefusedError } from "../errors.ts";
import { evaluateRule, type Rule, type RuleResult, type Subject } from "../permissions/rules.ts";
import { printable } from "../printable.ts";
import type { EffectiveGrant } from "../storage/sql/effective-permissions.ts";

/** What was decided about: a request, an open socket whose right may have ended, or one recipient of a send. */
export type DecidedEvent = "token" | "connect" | "message" | "disconnect" | "eviction" | "delivery";

/** What is known about an event while it is being decided; filled in as guards pass. */
export interface DecisionContext {
  readonly event: DecidedEvent;
  readonly path: string;
  /** Rules and hooks in the order in which they were asked. */
  readonly steps: Step[];
  /** `performance.now()` when the event arrived. */
  readonly startedAt: number;
  gateway?: string;
  connectionId?: string;
  /** API Gateway's id of the event, as in its access log. */
  requestId?: string;
  sourceIp?: string;
  origin?: string;
  connectionKey?: string;
  userId?: string;
  /** Hash of the id of the app's session. */
  sessionId?: string;
  view?: string;
  handler?: string;
  channel?: string;
  /** The `id` of the call, as the peer chose it. */
  callId?: string | number;
  /** The change that led to an eviction, as in the audit. */
  change?: number;
  /** From the event's arrival until every guard had said yes, in milliseconds; where somebody wants to know. */
  gateMs?: number;
}

/** A question that was asked on the way to a decision, with whom it was asked about. */
export type Step =
  | {
      readonly kind: "rule";
      readonly what: string;
      readonly rule: Rule;
      readonly subject: Subject;
      readonly verdict: RuleResult;
    }
  | { readonly kind: "authorize"; readonly what: string; readonly allowed: boolean };

/** Steps that are remembered of one event; a handler may send in a loop. */
const MAX_STEPS = 50;

export function createDecisionContext(event: DecidedEvent, path: string): DecisionContext {
  return { event, path, steps: [], startedAt: performance.now() };
}

/** Remembers a step; when there are too many, the latest stands for those before it. */
export function recordStep(context: DecisionContext, step: Step): void {
  if (context.steps.length >= MAX_STEPS) context.steps.pop();
  context.steps.push(step);
}

/** One question and its answer, complete enough to be judged again. */
export type DecisionStep =
  | {
      readonly kind: "rule";
      /** Whose rule: `ChatView`, `ChatView.delete_message`, `channel "rooms/general"`. */
      readonly what: string;
      readonly rule: Rule;
      /** The user's state when it was asked; `userId` null for nobody. */
      readonly subject: Pick<Subject, "userId" | "isActive" | "isSuperuser">;
      /** The grants that held then, of the permissions that the rule names. */
      readonly held: readonly EffectiveGrant[];
      readonly allowed: boolean;
      /** Permissions any or all of which would have let the user in. */
      readonly missing: readonly string[];
    }
  | {
      readonly kind: "authorize";
      /** Whose hook. */
      readonly what: string;
      readonly allowed: boolean;
    };

/** One yes or no with its reasons. The peer hears the reference and nothing else of it. */
export interface Decision extends Readonly<Omit<DecisionContext, "steps" | "startedAt" | "gateMs">> {
  /** The {@link sessionFingerprint} of the app's session. */
  readonly sessionId?: string;
  /** Leads from what the peer heard to this decision. */
  readonly reference: string;
  /** Epoch milliseconds. */
  readonly at: number;
  readonly verdict: "allowed" | "refused";
  /** The HTTP status it had, or would have had. */
  readonly status: number;
  /** Why it was refused; undefined where it was allowed. */
  readonly reason: Reason | undefined;
  /** For the developer: what happened and what to do. */
  readonly message: string;
  /** Permissions any or all of which would have let the user in. */
  readonly missing: readonly string[];
  /** Every rule and hook that was asked, in order. */
  readonly steps: readonly DecisionStep[];
  /** From the event's arrival to the verdict, hooks and database included, in milliseconds. */
  readonly tookMs: number;
  /** Further denials of the same kind that were counted on this decision and not stored. */
  readonly repeats: number;
  /** True if the reference that led to this decision belongs to a denial that was only counted on it. */
  readonly isCounted?: true;
}

/** Short enough to read out, random enough never to meet another: 12 hex characters. */
export function newReference(): string {
  return randomUUID().replaceAll("-", "").slice(0, 12);
}

export function denied(context: DecisionContext, error: RefusedError, reference: string): Decision {
  const { status, reason, message, missing } = error;
  return { ...fieldsOf(context), reference, verdict: "refused", status, reason, message, missing };
}

export function allowed(context: DecisionContext, reference: string): Decision {
  const { what } = context.steps.at(-1) ?? { what: "Nothing that was asked" };
  const message =
    context.steps.length === 0 ? "Nothing demanded anything." : `${what} and all before it said yes.`;
  return {
    ...fieldsOf(context),
    reference,
    verdict: "allowed",
    status: 200,
    reason: undefined,
    message,
    missing: [],
  };
}

/** Returns what a decision contains of a session of the app: the first 12 hexadecimal characters of its hash. */
export function sessionFingerprint(sessionHash: string): string {
  return sessionHash.slice(0, 12);
}

function fieldsOf({ steps, startedAt, sessionId, gateMs: _, ...given }: DecisionContext) {
  const context = { ...given, ...printableFields(given) };
  const tookMs = Math.round((performance.now() - startedAt) * 1000) / 1000;
  const session = sessionId === undefined ? {} : { sessionId: sessionFingerprint(sessionId) };
  return { ...context, ...session, at: Date.now(), steps: steps.map(publicStep), tookMs, repeats: 0 };
}

/** What a client or a gateway wrote, and ends in logs. Ids of users are the app's own and stay, because decisions are found by them. */
const WRITTEN_OUTSIDE = [
  "path",
  "connectionId",
  "requestId",
  "sourceIp",
  "origin",
  "view",
  "handler",
  "channel",
  "callId",
] as const;

function printableFields(context: Partial<DecisionContext>): Partial<DecisionContext> {
  const fields: Record<string, string> = {};
  for (const name of WRITTEN_OUTSIDE) {
    const value = context[name];
    if (typeof value === "string") fields[name] = printable(value);
  }
  return fields;
}

/** A step as it is told: what it needs to be judged again, and nothing of the user's other rights. */
export function publicStep(step: Step): DecisionStep {
  if (step.kind === "authorize") return step;
  const { what, rule, subject, verdict } = step;
  const named = new Set<string>([...rule.anyOf.flat(), ...rule.allOf]);
  const grants: readonly EffectiveGrant[] =
    subject.grants ?? subject.permissions.map((permission) => ({ permission, group: null, until: null }));
  return {
    kind: "rule",
    what,
    rule,
    subject: { userId: subject.userId, isActive: subject.isActive, isSuperuser: subject.isSuperuser },
    held: grants.filter(({ permission }) => named.has(permission)),
    allowed: verdict.allowed,
    missing: verdict.allowed ? [] : verdict.missing,
  };
}

/** Judges a told step again, from nothing but what it tells. */
export function recompute(step: DecisionStep): boolean {
  if (step.kind === "authorize") return step.allowed;
  const permissions = step.held.map(({ permission }) => permission);
  return evaluateRule(step.rule, { ...step.subject, permissions }).allowed;
}
