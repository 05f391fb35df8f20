import type { ChangeEntry, DecisionEntry, LiveEntry } from "./live-store.ts";
import { callOf, labelOf, placeOf } from "./words.ts";

/** How an entry is shown: its icon and its color. */
export type Tone = "allowed" | "denied" | "ended" | "change" | "neutral";

/** An entry in words. */
export interface Description {
  readonly tone: Tone;
  readonly title: string;
  readonly detail: string;
}

export function describe(entry: LiveEntry): Description {
  const person = entry.person ?? "A client";
  switch (entry.kind) {
    case "closed":
      return {
        tone: "ended",
        title: `${person}’s socket closed`,
        detail: `${entry.afterMs} ms after ${CAUSES[entry.change.action] ?? "the change"}`,
      };
    case "disconnected":
      return entry.othersOpen === 0
        ? { tone: "neutral", title: `${person} disconnected`, detail: "" }
        : { tone: "neutral", title: `A socket of ${person} disconnected`, detail: "another one is open" };
    case "reset":
      return { tone: "neutral", title: "Reset", detail: "" };
    case "change":
      return {
        tone: entry.change.action === "end-session" ? "neutral" : "change",
        title: changeTitle(entry),
        detail: entry.change.by ? `by ${entry.change.by}` : "",
      };
    case "decision":
      return describeDecision(entry);
  }
}

const CAUSES: Readonly<Partial<Record<ChangeEntry["change"]["action"], string>>> = {
  revoke: "the revoke",
  expired: "the end of the grant",
  "remove-from-group": "the removal from the group",
  "end-session": "signing out",
};

/** Returns what a change of permissions did. */
export function changeTitle({ person, change }: ChangeEntry): string {
  const { action, group, permission, details } = change;
  const holder = person ?? (group ? `the group ${group}` : "everyone");
  const label = labelOf(permission ?? "");
  switch (action) {
    case "grant":
      return `${label} granted to ${holder}`;
    case "revoke":
      return `${label} revoked from ${holder}`;
    case "expired":
      return permission ? `${label} of ${holder} ended` : `${holder}’s time in ${group} ended`;
    case "add-to-group":
      return `${holder} added to group ${group}`;
    case "remove-from-group":
      return `${holder} removed from group ${group}`;
    case "set-superuser":
      return details.superuser ? `${holder} is a superuser` : `${holder} is no longer a superuser`;
    case "recheck":
      return `Rooms of ${holder} checked again`;
    case "end-session":
      return person ? `${person} signed out` : "A session ended";
    default:
      return `${action} ${holder}`;
  }
}

function describeDecision({ person, decision }: DecisionEntry): Description {
  const { event, verdict, reason, channel, missing, tookMs } = decision;
  const who = person ?? "A client";
  const needs =
    missing.length > 0
      ? `needs ${missing.map(labelOf).join(" or ")}`
      : (REASONS[reason ?? ""] ?? reason ?? "by a check of the app");
  if (event === "revocation")
    return { tone: "ended", title: `${who} lost ${placeOf(channel)}`, detail: needs };
  const title = `${who} ${actionOf(decision)}`;
  if (verdict === "denied") return { tone: "denied", title, detail: `denied, ${needs}` };
  const time = `${tookMs < 10 ? tookMs.toFixed(1) : Math.round(tookMs)} ms`;
  // The time of a message includes its handler.
  return {
    tone: "allowed",
    title,
    detail: event === "message" ? `allowed, done in ${time}` : `allowed in ${time}`,
  };
}

const REASONS: Readonly<Record<string, string>> = {
  authorize: "by a check of the app",
  session: "the session has ended",
  "session-ended": "the session has ended",
  limit: "too many requests",
  "connection-limit": "too many connections",
};

function actionOf({ event, handler, channel }: DecisionEntry["decision"]): string {
  switch (event) {
    case "token":
      return "requests a token";
    case "connect":
      return `connects to ${placeOf(channel)}`;
    case "message":
      return callOf(handler);
    case "delivery":
      return `receives a message of ${placeOf(channel)}`;
    default:
      return event;
  }
}
