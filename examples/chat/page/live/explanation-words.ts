import type { DecisionEntry } from "./live-store.ts";
import { placeOf } from "./words.ts";

type Decision = DecisionEntry["decision"];

/** Returns the title of the explanation of a decision. */
export function questionOf({ person, decision }: DecisionEntry): string {
  const { event, handler, channel, verdict, status } = decision;
  const who = person ?? "a client";
  if (event === "revocation") return `Why ${who} lost ${placeOf(channel)}`;
  // Other statuses are about a wrong or too frequent request, and not about permissions.
  const can = verdict === "allowed" ? "may" : status === 401 || status === 403 ? "may not" : "could not";
  switch (event) {
    case "token":
      return `Why ${who} ${can} get a token`;
    case "connect":
      return `Why ${who} ${can} connect to ${placeOf(channel)}`;
    case "message":
      return `Why ${who} ${can} call ${handler ?? "an unknown handler"}`;
    case "delivery":
      return `Why ${who} ${can} receive a message of ${placeOf(channel)}`;
    case "disconnect":
      return `Why ${who} disconnected`;
  }
}

/** Returns the badge of a decision. */
export function outcomeOf({ event, verdict, status }: Decision): { label: string; color: string } {
  if (event === "revocation") return { label: "ended", color: "orange" };
  return verdict === "allowed"
    ? { label: "allowed", color: "harbor" }
    : { label: `denied ${status}`, color: "red" };
}
