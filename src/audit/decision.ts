import { randomUUID } from "node:crypto";
import type { Reason, RequestError } from "../errors.ts";
import { printable } from "../format-value.ts";
import { evaluateRule, type Rule, type RuleResult } from "../permissions/rules.ts";
import type { EffectiveGrant, Subject } from "../storage/stores/users.ts";

/**
 * The kind of event: a request, a check of an open connection (`revocation`), or a recipient of a
 * send.
 */
export type DecidedEvent = "token" | "connect" | "message" | "disconnect" | "revocation" | "delivery";

/** The facts that are known about an event. Each check adds to them. */
export interface DecisionContext {
  readonly event: DecidedEvent;
  readonly path: string;
  /** Rules and authorize hooks, in the order in which they were evaluated. */
  readonly steps: Step[];
  /** `performance.now()` when the event arrived. */
  readonly startedAt: number;
  gateway?: string;
  connectionId?: string;
  /** The id that API Gateway gave the event, as in its access log. */
  requestId?: string;
  sourceIp?: string;
  origin?: string;
  connectionKey?: string;
  userId?: string;
  /** Hash of the session id. */
  sessionId?: string;
  view?: string;
  handler?: string;
  channel?: string;
  /** The `id` of the call, as the client chose it. */
  callId?: string | number;
  /** The number of the change that caused a revocation, as in the audit log. */
  change?: number;
  /**
   * Time from the arrival of the event until all checks had passed, in milliseconds, for telemetry.
   */
  authorizationMs?: number;
}

/** A rule or an authorize hook that was evaluated, with its input and its result. */
export type Step =
  | {
      readonly kind: "rule";
      readonly what: string;
      readonly rule: Rule;
      readonly subject: Subject;
      readonly verdict: RuleResult;
    }
  | { readonly kind: "authorize"; readonly what: string; readonly allowed: boolean };

/** The maximum number of steps per event. A handler can send in a loop. */
const MAX_STEPS = 50;

/** Returns the context of an event that has just arrived. */
export function createDecisionContext(event: DecidedEvent, path: string): DecisionContext {
  return { event, path, steps: [], startedAt: performance.now() };
}

/** Adds a step. If there are too many, it replaces the last one. */
export function recordStep(context: DecisionContext, step: Step): void {
  if (context.steps.length >= MAX_STEPS) context.steps.pop();
  context.steps.push(step);
}

/**
 * A rule or an authorize hook and its result. A rule can be evaluated again from the step alone.
 */
export type DecisionStep =
  | {
      readonly kind: "rule";
      /**
       * The owner of the rule: `ChatView`, `ChatView.delete_message`, `channel "rooms/general"`.
       */
      readonly what: string;
      readonly rule: Rule;
      /**
       * The state of the user when the rule was evaluated. `userId` is null for an anonymous user.
       */
      readonly subject: Pick<Subject, "userId" | "isActive" | "isSuperuser">;
      /** The grants that applied then, for the permissions that the rule names. */
      readonly held: readonly EffectiveGrant[];
      readonly allowed: boolean;
      /** The missing permissions. Depending on the rule, the user needs one or all of them. */
      readonly missing: readonly string[];
    }
  | {
      readonly kind: "authorize";
      /** The owner of the hook, such as `authorize of channel "rooms/general"`. */
      readonly what: string;
      readonly allowed: boolean;
    };

/** A decision with its reasons. Only the reference is sent to the client. */
export interface Decision extends Readonly<Omit<DecisionContext, "steps" | "startedAt" | "authorizationMs">> {
  /** The {@link sessionFingerprint} of the session. */
  readonly sessionId?: string;
  /** Identifies this decision. A denied client receives it. */
  readonly reference: string;
  /** Time of the decision, in epoch milliseconds. */
  readonly at: number;
  readonly verdict: "allowed" | "denied";
  /** HTTP status of the response, or the corresponding status if the event has no response. */
  readonly status: number;
  /** Why the event was denied or rejected, or undefined if it was allowed. */
  readonly reason: Reason | undefined;
  /** For developers: what happened and what to do. */
  readonly message: string;
  /** The missing permissions. Depending on the rule, the user needs one or all of them. */
  readonly missing: readonly string[];
  /** The rules and hooks that were evaluated, in order. At most 50. */
  readonly steps: readonly DecisionStep[];
  /**
   * Time from the arrival of the event to the decision, in milliseconds. Includes hooks and the
   * database.
   */
  readonly tookMs: number;
  /** Further denials of the same kind that were counted on this decision and not stored. */
  readonly repeats: number;
  /**
   * True if the reference that led to this decision belongs to a denial that was only counted on
   * it.
   */
  readonly isCounted?: true;
}

/** Returns a new random reference: 12 hexadecimal characters, short enough to read out. */
export function newReference(): string {
  return randomUUID().replaceAll("-", "").slice(0, 12);
}

/** Returns the decision for an event that an error denied or rejected. */
export function denied(context: DecisionContext, error: RequestError, reference: string): Decision {
  const { status, reason, message, missing } = error;
  return { ...fieldsOf(context), reference, verdict: "denied", status, reason, message, missing };
}

/** Returns the decision for an event that was allowed. */
export function allowed(context: DecisionContext, reference: string): Decision {
  const lastStep = context.steps.at(-1);
  const message = lastStep
    ? `All checks passed. The last check was ${lastStep.what}.`
    : "No check was required.";
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

/**
 * Returns what a decision contains of a session: the first 12 hexadecimal characters of its hash.
 */
export function sessionFingerprint(sessionHash: string): string {
  return sessionHash.slice(0, 12);
}

function fieldsOf({ steps, startedAt, sessionId, authorizationMs: _, ...given }: DecisionContext) {
  const context = { ...given, ...printableFields(given) };
  const tookMs = Math.round((performance.now() - startedAt) * 1000) / 1000;
  const session = sessionId === undefined ? {} : { sessionId: sessionFingerprint(sessionId) };
  return { ...context, ...session, at: Date.now(), steps: steps.map(publicStep), tookMs, repeats: 0 };
}

/**
 * Fields with text from clients or gateways, which must be safe to log. User ids are used for
 * queries and stay unchanged.
 */
const EXTERNAL_FIELDS = [
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
  for (const name of EXTERNAL_FIELDS) {
    const value = context[name];
    if (typeof value === "string") fields[name] = printable(value);
  }
  return fields;
}

/**
 * Returns what a decision contains of a step. Permissions that the rule does not name are left out.
 */
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

/** Evaluates a step again, from its own data only. */
export function reevaluate(step: DecisionStep): boolean {
  if (step.kind === "authorize") return step.allowed;
  const permissions = step.held.map(({ permission }) => permission);
  return evaluateRule(step.rule, { ...step.subject, permissions }).allowed;
}
