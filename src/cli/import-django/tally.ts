import { printable } from "../../format-value.ts";
import { quoted } from "../terminal.ts";

/** What the import handles, in the order of the report. */
export const KINDS = [
  "permissions",
  "groups",
  "users",
  "group grants",
  "memberships",
  "user grants",
  "gateways",
  "routes",
] as const;
export type Kind = (typeof KINDS)[number];

/** The outcomes of a row of Django. `printed`: as code to add to the app. */
export const OUTCOMES = ["kept", "added", "changed", "renamed", "printed", "skipped"] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** Rows with the same outcome for the same reason. */
export interface Note {
  readonly kind: Kind;
  readonly outcome: Outcome;
  readonly reason: string;
  readonly count: number;
  /** The first of the rows. */
  readonly examples: readonly string[];
}

/** The maximum number of rows that a note names. A database can have any number of them. */
const MAX_EXAMPLES = 20;
/** The number of rows that a line of the text form names. */
const PRINTED_EXAMPLES = 3;
/** The maximum length of a name in the report, in characters. */
const MAX_NAME = 100;

/** Counts what an import does. Its size does not depend on the number of rows. */
export class Tally {
  readonly #counts = new Map<string, number>();
  readonly #notes = new Map<string, Note & { count: number; readonly examples: string[] }>();

  /** Counts rows without a reason. */
  count(kind: Kind, outcome: Outcome, rows = 1): void {
    const key = `${kind} ${outcome}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + rows);
  }

  /** Counts a row with a reason. A renamed row is counted as kept or added too. */
  note(kind: Kind, outcome: Outcome, reason: string, example: string): void {
    this.count(kind, outcome);
    const key = JSON.stringify([kind, outcome, reason]);
    const note = this.#notes.get(key) ?? { kind, outcome, reason, count: 0, examples: [] };
    note.count += 1;
    if (note.examples.length < MAX_EXAMPLES) note.examples.push(shortened(example));
    this.#notes.set(key, note);
  }

  /** The counts of each kind, without kinds that Django has no rows of. */
  get counts(): Readonly<Partial<Record<Kind, Readonly<Record<Outcome, number>>>>> {
    const counted = KINDS.map((kind) => {
      const numbers = OUTCOMES.map(
        (outcome) => [outcome, this.#counts.get(`${kind} ${outcome}`) ?? 0] as const,
      );
      return [kind, Object.fromEntries(numbers) as Record<Outcome, number>] as const;
    });
    return Object.fromEntries(
      counted.filter(([, numbers]) => Object.values(numbers).some((count) => count > 0)),
    );
  }

  /** The notes, ordered by kind and outcome. */
  get notes(): readonly Note[] {
    const order = ({ kind, outcome }: Note) => KINDS.indexOf(kind) * 10 + OUTCOMES.indexOf(outcome);
    return [...this.#notes.values()].sort((one, other) => order(one) - order(other));
  }
}

function shortened(text: string): string {
  return text.length > MAX_NAME ? `${text.slice(0, MAX_NAME)}…` : text;
}

/** Returns a note as a line, such as `skipped 2 users: the id is empty ("7", "9")`. */
export function noteLine({ kind, outcome, reason, count, examples }: Note): string {
  const named = examples.slice(0, PRINTED_EXAMPLES).map((example) => printable(quoted(example)));
  const rest = count > named.length ? ", …" : "";
  return `${outcome} ${count} ${count === 1 ? kind.replace(/s$/, "") : kind}: ${reason} (${named.join(", ")}${rest})`;
}
