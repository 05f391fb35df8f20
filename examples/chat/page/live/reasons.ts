import type { DecisionStep } from "sallyport";
import { labelOf, placeOf } from "./words.ts";

/** A check of a decision, in words. */
export interface Reason {
  readonly label: string;
  /** What the check belongs to, as the code of the app names it. */
  readonly code: string;
  readonly isPassed: boolean;
  /** The explanation. Some parts are followed by a name of the code. */
  readonly parts: readonly Part[];
}

interface Part {
  readonly text: string;
  readonly code?: string;
}

/**
 * Returns the checks of a decision in their order. A check that ran twice with one result is one.
 *
 * @param who the name of the person
 */
export function reasonsOf(steps: readonly DecisionStep[], who: string): readonly Reason[] {
  const reasons = new Map<string, Reason>();
  for (const step of steps) {
    const reason = { ...namesOf(step), isPassed: step.allowed, parts: partsOf(step, who) };
    reasons.set(JSON.stringify(reason), reason);
  }
  return [...reasons.values()];
}

/** Returns the label and the name of a step such as `authorize of channel "rooms/general"`. */
function namesOf({ what, kind }: DecisionStep): { label: string; code: string } {
  const channel = /channel "([^"]*)"/.exec(what)?.[1];
  const handler = /\.(\w+)/.exec(what)?.[1];
  const label =
    channel !== undefined ? `Room ${placeOf(channel)}` : handler !== undefined ? "Handler" : "Chat";
  const code = channel ?? /[\w.]+$/.exec(what)?.[0] ?? what;
  if (kind === "authorize") return { label: "Check of the app", code: `authorize of ${code}` };
  return { label: what.startsWith("sending") ? `Sending to ${placeOf(channel)}` : label, code };
}

function partsOf(step: DecisionStep, who: string): readonly Part[] {
  if (step.kind === "authorize")
    return [
      {
        text: step.allowed
          ? "The function of the app returned true."
          : "The function of the app returned false.",
      },
    ];
  const { rule } = step;
  const groups = [
    ...rule.anyOf.map((names) => names.map(String)),
    ...rule.allOf.map((name) => [String(name)]),
  ];
  if (groups.length === 0) return [{ text: "Needs a signed-in user." }];
  const needs = groups.flatMap((names, group) =>
    names.map((name, index) => {
      const word = index > 0 ? "or " : group > 0 ? "and " : "Needs ";
      return { text: word + labelOf(name), code: name };
    }),
  );
  return [...needs, { text: `${who} has ${heldText(step, groups.flat().length)}.` }];
}

function heldText({ subject, held }: Extract<DecisionStep, { kind: "rule" }>, count: number): string {
  if (subject.isSuperuser) return "every permission as a superuser";
  if (held.length > 0)
    return [...new Set(held.map(({ group }) => group))]
      .map((group) => {
        const labels = held
          .filter((grant) => grant.group === group)
          .map(({ permission }) => labelOf(permission));
        return `${labels.join(" and ")}${group === null ? "" : ` (through ${group})`}`;
      })
      .join(" and ");
  return count === 1 ? "no such permission" : count === 2 ? "neither" : "none of them";
}
