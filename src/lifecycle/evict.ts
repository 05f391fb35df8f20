import type { Eviction } from "../access/evictions.ts";
import { judge, judgeAll } from "../access/rules.ts";
import { userOf } from "../access/user.ts";
import { encodeFrame } from "../delivery/delivery.ts";
import type { RevokedNotice } from "../protocol/frames.ts";
import { PAGE_SIZE, type SessionSelector, type SessionWithChannels } from "../sessions/sessions.ts";
import { recipientOf } from "./deliver.ts";
import type { Rooms } from "./rooms.ts";

/**
 * Draws the consequences of every recorded change of rights for the sockets that are open now.
 *
 * Lost the view: notice, then closed. Lost a channel: left, with a notice; the socket stays. Doing it twice does
 * no harm, so a record is finished only when all its pages are done and may be claimed anew after a crash.
 *
 * @returns how many sessions lost their view or a channel
 */
export async function enforce(rooms: Rooms): Promise<number> {
  let evicted = 0;
  while (await rooms.evictions.isDue()) {
    const eviction = await rooms.evictions.claim();
    if (!eviction) break;
    try {
      evicted += await enforceOne(rooms, eviction);
      await rooms.evictions.finish(eviction.id);
    } catch (error) {
      // The change itself is committed. Its record stays and is claimed again when the lease is over.
      rooms.onError(error, `enforcing a change of ${eviction.scope} ${eviction.subject}`);
    }
  }
  return evicted;
}

async function enforceOne(rooms: Rooms, eviction: Eviction): Promise<number> {
  let evicted = 0;
  let after = "";
  for (;;) {
    const page = await rooms.sessions.page(selectorOf(eviction), after);
    const results = await Promise.all(page.map((session) => reconsider(rooms, session, eviction)));
    evicted += results.filter(Boolean).length;
    after = page.at(-1)?.id ?? "";
    if (page.length < PAGE_SIZE) return evicted;
  }
}

/** Which sessions a change can have touched. A permission may be in anybody's rule, so all of them. */
function selectorOf({ scope, subject }: Eviction): SessionSelector {
  switch (scope) {
    case "user":
      return { kind: "user", userId: subject };
    case "group":
      return { kind: "group", group: subject };
    case "login":
      return { kind: "login", loginId: subject };
    case "view":
      return { kind: "view", view: subject };
    case "channel":
      return { kind: "channel", channel: subject };
    case "permission":
      return { kind: "all" };
  }
}

/** @returns whether the session lost anything */
async function reconsider(rooms: Rooms, session: SessionWithChannels, { scope }: Eviction): Promise<boolean> {
  const view = rooms.views.get(session.view);
  // Another app of the same database mounted that view and enforces for it.
  if (!view) return false;
  if (scope === "login") {
    await endSession(rooms, session, "login ended");
    return true;
  }
  if (!judge(view.rule, session).allowed) {
    await endSession(rooms, session, "right ended");
    return true;
  }
  const lost: string[] = [];
  for (const channel of session.channels) {
    if (!(await mayStay(rooms, session, channel))) lost.push(channel);
  }
  for (const channel of lost) {
    await rooms.database.write((db) => rooms.memberships.leave(db, session.id, channel));
    await notify(rooms, session, { type: "sallyport.revoked", scope: "channel", channel });
  }
  return lost.length > 0;
}

async function mayStay(rooms: Rooms, session: SessionWithChannels, name: string): Promise<boolean> {
  const channel = rooms.channels.match(name);
  if (!channel || !judgeAll(channel.rules, session).allowed) return false;
  const user = userOf(session);
  for (const authorize of channel.authorize) if ((await authorize(user)) !== true) return false;
  return true;
}

/** The row first, so that nothing is accepted or delivered while the socket is still being closed. */
async function endSession(rooms: Rooms, session: SessionWithChannels, reason: string): Promise<void> {
  await rooms.sessions.closeMany([session.id], reason);
  const recipient = await recipientOf(rooms, session);
  if (!recipient) return;
  await notify(rooms, session, { type: "sallyport.revoked", scope: "view" });
  await rooms.delivery.close(recipient, true);
}

async function notify(rooms: Rooms, session: SessionWithChannels, notice: RevokedNotice): Promise<void> {
  const recipient = await recipientOf(rooms, session);
  if (recipient) await rooms.delivery.post(recipient, encodeFrame(notice), true);
}

/** How often a process looks whether another one has changed something, in milliseconds. */
const LOOK_MS = 250;
/** How often it looks even so: for records whose claimant died, in milliseconds. */
const LOOK_ANYWAY_MS = 1000;

/** Enforces what other processes recorded, for as long as this one serves events. Never keeps a process alive. */
export class EnforcementLoop {
  readonly #rooms: Rooms;
  #timer: NodeJS.Timeout | undefined;
  #lookedAt = 0;
  #stopped = false;
  #looking: Promise<void> = Promise.resolve();

  constructor(rooms: Rooms) {
    this.#rooms = rooms;
  }

  /** Starting twice is starting once. */
  start(): void {
    if (this.#timer || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().finally(() => {
        this.#timer = undefined;
        this.start();
      });
    }, LOOK_MS).unref();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    try {
      const changed = await this.#rooms.database.changedElsewhere();
      if (!changed && Date.now() - this.#lookedAt < LOOK_ANYWAY_MS) return;
      this.#lookedAt = Date.now();
      await enforce(this.#rooms);
    } catch (error) {
      this.#rooms.onError(error, "enforcement loop");
    }
  }
}
