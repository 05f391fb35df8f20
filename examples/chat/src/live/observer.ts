import type { AuditEntry, Decision } from "sallyport";
import type { HandledEvent } from "sallyport/local";
import { nameOf } from "../accounts.ts";
import { sallyport } from "../sallyport.ts";
import { BoundedMap } from "./bounded-map.ts";
import { changesAfter } from "./changes.ts";
import { LiveFeed } from "./feed.ts";

export const feed = new LiveFeed();

/** Interval at which changes are read, which another process may have made, in milliseconds. */
const CHANGES_MS = 150;
/** Maximum number of connections and sessions that are remembered. */
const MAX_REMEMBERED = 1000;
/** Maximum number of entries that wait for the database. Later ones are not shown. */
const MAX_QUEUED = 1000;
/** Changes that the page does not show. */
const HIDDEN: ReadonlySet<AuditEntry["action"]> = new Set(["provision", "rules-changed"]);

/** The decision that ended a connection, by the id of the connection. */
const revocations = new BoundedMap<string, Decision>(MAX_REMEMBERED);
/** The user of a connection, by the id of the connection. */
const connected = new BoundedMap<string, string>(MAX_REMEMBERED);
/** The user of a session, by the fingerprint of the session. */
const sessions = new BoundedMap<string, string>(MAX_REMEMBERED);
let lastChange = 0;
/** Entries are added in the order of the events, although names and changes are read from the database. */
let queue: Promise<void> = Promise.resolve();
let queued = 0;

/** Adds a decision to the feed. `onDecision` of the app calls it. */
export function observeDecision(decision: Decision): void {
  const { change, userId, at } = decision;
  remember(decision);
  enqueue(async () => {
    if (change !== undefined) await addChanges();
    feed.add({ kind: "decision", at, person: await personOf(userId), decision });
  });
}

function remember(decision: Decision): void {
  const { event, verdict, connectionId, channel, userId, sessionId } = decision;
  if (userId !== undefined && sessionId !== undefined) sessions.set(sessionId, userId);
  if (connectionId === undefined) return;
  if (event === "connect" && verdict === "allowed" && userId !== undefined)
    connected.set(connectionId, userId);
  // A connection that loses a channel stays open.
  if (event === "revocation" && channel === undefined) revocations.set(connectionId, decision);
}

/** Adds a closed socket to the feed. The local gateway calls it. */
export function observeGateway({ kind, connectionId, tookMs }: HandledEvent): void {
  if (kind !== "disconnect") return;
  const revocation = revocations.take(connectionId);
  const userId = connected.take(connectionId) ?? revocation?.userId;
  // A connection that was rejected has no user.
  if (userId === undefined) return;
  const at = Date.now() - tookMs;
  const othersOpen = connected.count(userId);
  enqueue(async () => {
    const person = await personOf(userId);
    const change = revocation?.change === undefined ? undefined : await findChange(revocation.change);
    if (!revocation || !change) return feed.add({ kind: "disconnected", at, person, othersOpen });
    const afterMs = Math.max(0, Math.round(at - change.at));
    feed.add({ kind: "closed", at, person, userId, afterMs, change, reference: revocation.reference });
  });
}

/** Adds a line above the entries before a reset. */
export function observeReset(): void {
  const at = Date.now();
  enqueue(async () => {
    await addChanges();
    feed.add({ kind: "reset", at, person: null });
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
  const timer = setInterval(() => {
    // A slow database must not fill the queue.
    if (queued === 0) enqueue(addChanges);
  }, CHANGES_MS);
  return () => clearInterval(timer);
}

async function addChanges(): Promise<void> {
  for (const change of await changesAfter((query) => sallyport.access.audit.list(query), lastChange)) {
    lastChange = change.number;
    if (HIDDEN.has(change.action)) continue;
    const person = await personOf(change.user ?? sessions.get(String(change.details.session)));
    feed.add({ kind: "change", at: change.at, person, change });
  }
}

async function findChange(number: number): Promise<AuditEntry | undefined> {
  const [change] = await sallyport.access.audit.list({ limit: 1, before: number + 1 });
  return change?.number === number ? change : undefined;
}

function enqueue(work: () => Promise<void>): void {
  if (queued >= MAX_QUEUED) return;
  queued++;
  queue = queue
    .then(work)
    .catch(console.error)
    .finally(() => {
      queued--;
    });
}

async function personOf(userId: string | null | undefined): Promise<string | null> {
  return userId ? nameOf(userId) : null;
}
