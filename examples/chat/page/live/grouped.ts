import { describe } from "./describe.ts";
import type { LiveEntry } from "./live-provider.tsx";

/** An entry, and the number of equal entries that it stands for. */
export interface GroupedEntry {
  readonly entry: LiveEntry;
  readonly count: number;
}

/** Joins equal denials that follow each other, such as those of a page that checks its access. */
export function grouped(entries: readonly LiveEntry[]): readonly GroupedEntry[] {
  const groups: GroupedEntry[] = [];
  for (const entry of entries) {
    const last = groups.at(-1);
    const more = entry.kind === "decision" ? 1 + entry.decision.repeats : 1;
    if (last && isSameDenial(last.entry, entry))
      groups[groups.length - 1] = { ...last, count: last.count + more };
    else groups.push({ entry, count: more });
  }
  return groups;
}

function isSameDenial(one: LiveEntry, other: LiveEntry): boolean {
  const [first, second] = [describe(one), describe(other)];
  return first.tone === "denied" && first.title === second.title && first.detail === second.detail;
}
