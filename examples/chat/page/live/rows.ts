import { describe, type Tone } from "./describe.ts";
import type { DecisionEntry, LiveEntry } from "./live-store.ts";
import { placeOf } from "./words.ts";

/** A line of the panel, for one or more entries. */
export interface Row {
  /** The id of the first entry. */
  readonly id: number;
  readonly kind: LiveEntry["kind"];
  readonly at: number;
  readonly tone: Tone;
  readonly title: string;
  readonly detail: string;
  /** The reference of the decision that the line explains, if there is one. */
  readonly reference: string | undefined;
}

/** The entries of a line, while lines are joined. */
interface Group {
  readonly id: number;
  entry: LiveEntry;
  /** The number of equal entries, or of the checks of a join. */
  count: number;
  /** A token, a connect and the first read of the messages are one line. */
  isJoin: boolean;
}

/** Time in which a page connects and reads its messages, in milliseconds. */
const JOIN_MS = 1000;

/**
 * Returns the lines for entries, both newest first. Equal entries that follow each other are one line.
 * So are the decisions about a page that connects.
 */
export function rowsOf(entries: readonly LiveEntry[]): readonly Row[] {
  const groups: Group[] = [];
  const known = new Set(entries.flatMap((entry) => (entry.kind === "decision" ? [referenceOf(entry)] : [])));
  /** The line of the last page that connected, by person. */
  const joins = new Map<string, Group>();
  for (const entry of entries.toReversed()) {
    if (isAllowed(entry) && addToJoin(entry, joins)) continue;
    const last = groups.at(-1);
    const more = entry.kind === "decision" ? 1 + entry.decision.repeats : 1;
    if (last && !last.isJoin && isEqual(last.entry, entry)) {
      last.entry = entry;
      last.count += more;
      continue;
    }
    const group = { id: entry.id, entry, count: more, isJoin: false };
    groups.push(group);
    if (isAllowed(entry) && entry.decision.event === "token" && entry.person) joins.set(entry.person, group);
  }
  return groups.reverse().map((group) => {
    const row = rowOf(group);
    // The decision of a closed socket can be older than the oldest entry of the page.
    return known.has(row.reference) ? row : { ...row, reference: undefined };
  });
}

function isAllowed(entry: LiveEntry): entry is DecisionEntry {
  return entry.kind === "decision" && entry.decision.verdict === "allowed";
}

/** Adds a decision to the line of its person's page. @returns whether there is such a line */
function addToJoin(entry: DecisionEntry, joins: Map<string, Group>): boolean {
  const group = joins.get(entry.person ?? "");
  if (!group || entry.at - group.entry.at > JOIN_MS) return false;
  const { event, handler } = entry.decision;
  if (event === "connect" && !group.isJoin) {
    group.entry = entry;
    group.isJoin = true;
  } else if (event !== "message" || handler !== "fetch_history" || !group.isJoin) {
    return false;
  }
  group.count += 1;
  return true;
}

function isEqual(one: LiveEntry, other: LiveEntry): boolean {
  if (one.kind !== "decision" || other.kind !== "decision") return false;
  const [first, second] = [describe(one), describe(other)];
  if (first.tone !== second.tone || first.title !== second.title) return false;
  return first.tone === "allowed" || (first.tone === "denied" && first.detail === second.detail);
}

function rowOf({ id, entry, count, isJoin }: Group): Row {
  const { tone, title, detail } = describe(entry);
  const row = { id, kind: entry.kind, at: entry.at, tone, title, detail, reference: referenceOf(entry) };
  if (isJoin && entry.kind === "decision") {
    const place = placeOf(entry.decision.channel);
    return { ...row, title: `${entry.person} joined ${place}`, detail: `${count} checks passed` };
  }
  if (count === 1) return row;
  return { ...row, detail: `${tone === "allowed" ? "allowed" : detail}, ${count} times` };
}

function referenceOf(entry: LiveEntry): string | undefined {
  if (entry.kind === "decision") return entry.decision.reference;
  return entry.kind === "closed" ? entry.reference : undefined;
}
