import type { AuditEntry } from "sallyport";

/** Number of changes that are read at once. */
const PAGE_SIZE = 50;
/** Maximum number of changes that are returned. Older ones are left out. */
const MAX_CHANGES = 1000;

/** Returns entries of the audit log, newest first. */
type List = (query: { limit: number; before?: number }) => Promise<readonly AuditEntry[]>;

/** Returns the changes after a number, oldest first. */
export async function changesAfter(list: List, number: number): Promise<readonly AuditEntry[]> {
  const found: AuditEntry[] = [];
  let before: number | undefined;
  while (found.length < MAX_CHANGES) {
    const page = await list({ limit: PAGE_SIZE, ...(before === undefined ? {} : { before }) });
    found.push(...page.filter((entry) => entry.number > number));
    before = page.at(-1)?.number;
    if (page.length < PAGE_SIZE || before === undefined || before <= number) break;
  }
  return found.reverse();
}
