import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  EndedSessions,
  type EndedSessionsOptions,
  endedSessionsSchema,
  hashSessionId,
} from "../../src/auth/ended-sessions.ts";
import { Tokens } from "../../src/auth/tokens.ts";
import { ConfigurationError, RequestError } from "../../src/errors.ts";
import { parseOptions } from "../../src/options.ts";
import { Changes } from "./people.ts";
import { twoProcesses } from "./processes.ts";
import { ALIKE } from "./texts.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

const at = twoProcesses();
let errors: { readonly error: unknown; readonly where: string }[];
beforeEach(() => {
  errors = [];
});
afterEach(() => {
  vi.useRealTimers();
});

const ended = (options: EndedSessionsOptions = {}) =>
  new EndedSessions(
    at.one.store.endedSessions,
    parseOptions("endedSessions", endedSessionsSchema, options),
    (error, where) => errors.push({ error, where }),
  );

/** Stores sessions that ended a number of milliseconds ago. */
async function add(count: number, agoMs: number): Promise<void> {
  const endedAt = (await at.time()) - agoMs;
  const rows = Array.from({ length: count }, (_, index) => ({
    session_hash: hashSessionId(`${agoMs} ${index}`),
    ended_at: endedAt - index,
  }));
  await at.one.db.insertInto("sallyport_ended_sessions").values(rows).execute();
}

const rowCount = async () =>
  (await at.two.db.selectFrom("sallyport_ended_sessions").select("session_hash").execute()).length;

/** Ends a session in the first process. */
const end = (sessionHash: string) =>
  new Changes(at.one).apply({ kind: "end-session", sessionHash, fingerprint: "abc" });

/** Issues a token in the second process, unless the session has ended. */
async function issue(
  sessions: EndedSessions,
  identity: { readonly userId: string; readonly sessionId: string | null },
): Promise<void> {
  const grant = { ...identity, origin: null, gatewayId: null, view: null, channel: null };
  await new Tokens(at.two.store.tokens, 60).issue(grant, sessions.checkOf(identity));
}

describe("an ended session", () => {
  test("causes 401, and sessions with similar ids do not", async () => {
    const sessions = ended();
    await end(hashSessionId("ann"));
    await end(hashSessionId("ann"));
    for (const id of ALIKE) {
      const sessionId = hashSessionId(id);
      expect(await at.two.store.endedSessions.isEnded({ hash: sessionId, keepMs: DAY_MS }), id).toBe(
        id === "ann",
      );
      const checked = issue(sessions, { userId: "user-1", sessionId });
      if (id !== "ann") await expect(checked, id).resolves.toBeUndefined();
      else {
        const error = await checked.catch((cause: unknown) => cause);
        expect(error).toBeInstanceOf(RequestError);
        expect(error).toMatchObject({ status: 401, reason: "session-ended" });
      }
    }
    await expect(issue(sessions, { userId: "ann", sessionId: null })).resolves.toBeUndefined();
    expect(await rowCount()).toBe(1);
  });

  test("causes no 401 if its id is the user id, and this error is reported once", async () => {
    const sessions = ended();
    const sessionId = hashSessionId("ann");
    await end(sessionId);
    for (let times = 0; times < 2; times++) await issue(sessions, { userId: "ann", sessionId });
    expect(errors).toEqual([{ error: expect.any(ConfigurationError), where: "authenticate()" }]);
    await expect(issue(sessions, { userId: "bob", sessionId })).rejects.toThrow(RequestError);
  });
});

describe("rows of ended sessions", () => {
  test("are removed when they are older than keepDays, at most as many as a call allows", async () => {
    const sessions = ended({ keepDays: 2 });
    await add(5, 2 * DAY_MS);
    await add(3, 2 * DAY_MS - MINUTE_MS);
    expect(await sessions.removeOld(3)).toBe(3);
    expect(await sessions.removeOld(3)).toBe(2);
    expect(await sessions.removeOld(3)).toBe(0);
    expect(await rowCount()).toBe(3);
    expect(errors).toEqual([]);
  });

  test("are removed above maxRows and not at it, the oldest first", async () => {
    const sessions = ended({ maxRows: 4 });
    await add(2, 2000);
    await add(2, 1000);
    expect(await sessions.removeOld(10)).toBe(0);
    expect(errors).toEqual([]);
    await add(2, 0);
    expect(await sessions.removeOld(1)).toBe(1);
    expect(await sessions.removeOld(10)).toBe(1);
    const kept = [0, 1000].flatMap((ago) => [`${ago} 0`, `${ago} 1`].map(hashSessionId));
    const rows = await at.two.db.selectFrom("sallyport_ended_sessions").select("session_hash").execute();
    expect(new Set(rows.map(({ session_hash }) => session_hash))).toEqual(new Set(kept));
    expect(errors).toEqual([{ error: expect.any(ConfigurationError), where: "removing ended sessions" }]);
  });

  test("are swept once in ten minutes, also when the clock is set back, and a failure is reported", async () => {
    const now = Date.now();
    vi.useFakeTimers({ toFake: ["Date", "performance"], now });
    const sessions = ended({ keepDays: 1 });
    const sweptAfter = async (ms: number) => {
      vi.advanceTimersByTime(ms);
      await sessions.sweep();
      return rowCount();
    };
    await add(1500, 2 * DAY_MS);
    expect(await sweptAfter(0)).toBe(0);
    await add(1500, 2 * DAY_MS);
    expect(await sweptAfter(10 * MINUTE_MS - 1)).toBe(1500);
    vi.setSystemTime(now - 60 * MINUTE_MS);
    expect(await sweptAfter(1)).toBe(0);
    await add(1, 2 * DAY_MS);
    vi.setSystemTime(now + 60 * MINUTE_MS);
    expect(await sweptAfter(10 * MINUTE_MS - 1)).toBe(1);
    expect(await sweptAfter(1)).toBe(0);
    await at.one.db.schema.dropTable("sallyport_ended_sessions").execute();
    vi.advanceTimersByTime(10 * MINUTE_MS);
    await sessions.sweep();
    expect(errors).toEqual([{ error: expect.any(Error), where: "removing ended sessions" }]);
  });
});
