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
/** Changes that the page does not show. */
const HIDDEN: ReadonlySet<AuditEntry["action"]> = new Set(["provision", "rules-changed"]);

/** The decision that ended the access of a connection, by the id of the connection. */
const revocations = new Map<string, Decision>();
let lastChange = 0;
/** Entries are added in the order of the events, although names and changes are read from the database. */
let queue: Promise<void> = Promise.resolve();

/** Adds a decision to the feed. `onDecision` of the app calls it. */
export function observeDecision(decision: Decision): void {
  const { event, connectionId, change, userId, at } = decision;
  if (event === "revocation" && connectionId !== undefined) revocations.set(connectionId, decision);
  enqueue(async () => {
    if (change !== undefined) await addChanges();
    feed.add({ kind: "decision", at, person: await personOf(userId), decision });
  });
}

/** Adds a closed socket to the feed, if a change closed it. The local gateway calls it. */
export function observeGateway({ kind, connectionId, tookMs }: HandledEvent): void {
  if (kind !== "disconnect") return;
  const { change: number, userId = null } = revocations.get(connectionId) ?? {};
  revocations.delete(connectionId);
  if (number === undefined) return;
  const at = Date.now() - tookMs;
  enqueue(async () => {
    const change = (await changesSince(number - 1)).find((entry) => entry.number === number);
    if (!change) return;
    const afterMs = Math.max(0, Math.round(at - change.at));
    feed.add({ kind: "closed", at, person: await personOf(userId), userId, afterMs, change });
  });
}

/**
 * Adds changes of permissions to the feed, also those of the command line.
 *
 * @returns a function that stops it
 */
export async function observeChanges(): Promise<() => void> {
  const [newest] = await sallyport.access.audit.list({ limit: 1 });
  lastChange = newest?.number ?? 0;
  const timer = setInterval(() => enqueue(addChanges), CHANGES_MS);
  return () => clearInterval(timer);
}

async function addChanges(): Promise<void> {
  for (const change of await changesSince(lastChange)) {
    lastChange = change.number;
    if (HIDDEN.has(change.action)) continue;
    feed.add({ kind: "change", at: change.at, person: await personOf(change.user), change });
  }
}

/** Returns the changes after a number, oldest first. */
async function changesSince(number: number): Promise<readonly AuditEntry[]> {
  const newest = await sallyport.access.audit.list({ limit: MAX_CHANGES });
  return newest.filter((entry) => entry.number > number).reverse();
}

function enqueue(work: () => Promise<void>): void {
  queue = queue.then(work).catch(console.error);
}

async function personOf(userId: string | null | undefined): Promise<string | null> {
  return userId ? nameOf(userId) : null;
}
