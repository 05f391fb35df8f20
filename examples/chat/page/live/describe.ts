import type { DecisionEntry, LiveEntry } from "./live-provider.tsx";

/** How an entry is shown: its icon and its color. */
export type Tone = "allowed" | "denied" | "ended" | "change";

/** An entry in words. */
export interface Description {
  readonly tone: Tone;
  readonly title: string;
  readonly detail: string;
}

export function describe(entry: LiveEntry): Description {
  const person = entry.person ?? "Everyone";
  switch (entry.kind) {
    case "closed":
      return {
        tone: "ended",
        title: `${person}’s socket closed`,
        detail: `${entry.afterMs} ms after the ${CAUSES[entry.change.action] ?? "change"}`,
      };
    case "change":
      return {
        tone: "change",
        title: changeTitle(entry),
        detail: entry.change.by ? `by ${entry.change.by}` : "",
      };
    case "decision":
      return describeDecision(entry);
  }
}

const CAUSES: Readonly<Partial<Record<Extract<LiveEntry, { kind: "closed" }>["change"]["action"], string>>> =
  {
    revoke: "revoke",
    expired: "end of the grant",
    "remove-from-group": "removal from the group",
  };

const LABELS: Readonly<Record<string, string>> = {
  "chat.can_use_chat": "Use chat",
  "chat.can_moderate_chat": "Moderate chat",
};

export const labelOf = (permission: string) => LABELS[permission] ?? permission;

function changeTitle({ person, change }: Extract<LiveEntry, { kind: "change" }>): string {
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
      return `${holder} joined ${group}`;
    case "remove-from-group":
      return `${holder} left ${group}`;
    case "set-superuser":
      return details.superuser ? `${holder} is a superuser` : `${holder} is no superuser any more`;
    case "recheck":
      return `Rooms of ${holder} checked again`;
    default:
      return `${action} ${holder}`;
  }
}

function describeDecision({ person, decision }: DecisionEntry): Description {
  const { event, verdict, reason, channel, missing, tookMs } = decision;
  const who = person ?? "A client";
  const needs =
    missing.length > 0 ? `needs ${missing.map(labelOf).join(" or ")}` : (reason ?? "by a check of the app");
  if (event === "revocation")
    return { tone: "ended", title: `${who} lost ${channel ?? "the chat"}`, detail: needs };
  const title = `${who} ${actionOf(decision)}`;
  if (verdict === "denied") return { tone: "denied", title, detail: `denied, ${needs}` };
  return {
    tone: "allowed",
    title,
    detail: `allowed in ${tookMs < 10 ? tookMs.toFixed(1) : Math.round(tookMs)} ms`,
  };
}

function actionOf({ event, handler, channel }: DecisionEntry["decision"]): string {
  switch (event) {
    case "token":
      return "requests a token";
    case "connect":
      return `connects to ${channel ?? "the chat"}`;
    case "message":
      return `calls ${handler ?? "an unknown handler"}`;
    case "delivery":
      return `receives a message of ${channel ?? "the chat"}`;
    default:
      return event;
  }
}
