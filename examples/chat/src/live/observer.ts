import type { AuditEntry, Decision } from "sallyport";
import type { HandledEvent } from "sallyport/local";
import { nameOf } from "../accounts.ts";
import { sallyport } from "../sallyport.ts";
import { LiveFeed } from "./feed.ts";

export const feed = new LiveFeed();

/** Interval at which changes are read, which another process may have made, in milliseconds. */
const CHANGES_MS = 150;
/** Number of changes that are read at once. */
const MAX_CHANGES = 50;
/** Changes that the page does not show as such. */
const HIDDEN: ReadonlySet<AuditEntry["action"]> = new Set(["provision", "rules-changed"]);

/** The decision that ended the access of a connection, by the id of the connection. */
const revocations = new Map<string, Decision>();
let lastChange = 0;
/** Entries are added in order, although names are read from the database. */
let adding: Promise<void> = Promise.resolve();

/** Adds a decision to the feed. `onDecision` of the app calls it. */
export function observeDecision(decision: Decision): void {
  const { event, connectionId, userId } = decision;
  if (event === "revocation" && connectionId !== undefined) revocations.set(connectionId, decision);
  add(async () => ({
    kind: "decision",
    at: decision.at,
    person: await personOf(userId),
    decision,
  }));
}

/** Adds a closed socket to the feed, if a change closed it. The local gateway calls it. */
export function observeGateway({ kind, connectionId, tookMs }: HandledEvent): void {
  if (kind !== "disconnect") return;
  const { change: number, userId = null } = revocations.get(connectionId) ?? {};
  revocations.delete(connectionId);
  if (number === undefined) return;
  const at = Date.now() - tookMs;
  add(async () => {
    const change = (await changesSince(number - 1)).find((entry) => entry.number === number);
    if (!change) return undefined;
    const afterMs = Math.max(0, Math.round(at - change.at));
    return { kind: "closed", at, person: await personOf(userId), userId, afterMs, change };
  });
}

/** Adds changes of permissions to the feed, also those of the command line. @returns a function that stops it */
export async function observeChanges(): Promise<() => void> {
  const [newest] = await sallyport.access.audit.list({ limit: 1 });
  lastChange = newest?.number ?? 0;
  let timer: NodeJS.Timeout;
  const read = async () => {
    for (const change of await changesSince(lastChange)) {
      lastChange = change.number;
      if (HIDDEN.has(change.action)) continue;
      add(async () => ({ kind: "change", at: change.at, person: await personOf(change.user), change }));
    }
  };
  const readLater = () => {
    timer = setTimeout(() => read().catch(console.error).finally(readLater), CHANGES_MS);
  };
  readLater();
  return () => clearTimeout(timer);
}

/** Returns the changes after a number, oldest first. */
async function changesSince(number: number): Promise<readonly AuditEntry[]> {
  const newest = await sallyport.access.audit.list({ limit: MAX_CHANGES });
  return newest.filter((entry) => entry.number > number).reverse();
}

function add(entryOf: () => Promise<Parameters<LiveFeed["add"]>[0] | undefined>): void {
  adding = adding
    .then(entryOf)
    .then((entry) => entry && feed.add(entry))
    .catch(console.error);
}

async function personOf(userId: string | null | undefined): Promise<string | null> {
  return userId ? nameOf(userId) : null;
}
