import { beforeEach, describe, expect, test } from "vitest";
import { hashToken, spentTokenError, Tokens } from "../../src/auth/tokens.ts";
import { RequestError } from "../../src/errors.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import type { TokenGrant, TokenRequester } from "../../src/storage/stores/tokens.ts";
import { Changes, chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addGroups } from "./tables.ts";
import { ALIKE } from "./texts.ts";

const HOUR_MS = 3_600_000;
const ANN: TokenGrant = {
  userId: "ann",
  sessionId: null,
  origin: null,
  gatewayId: null,
  view: null,
  channel: null,
};

const at = twoProcesses();
let tokens: readonly [Tokens, Tokens];
beforeEach(async () => {
  await rightsGiven(at);
  tokens = at.each(({ store }) => new Tokens(store.tokens, 60));
});

const issue = (grant: TokenGrant) => tokens[0].issue(grant, null);

const endSession = (sessionHash: string) =>
  new Changes(at.one).apply({ kind: "end-session", sessionHash, fingerprint: "abc" });

/** Returns the reason why a token is rejected, or undefined if it was spent. */
async function rejectionReason(token: string): Promise<string | undefined> {
  const error = await tokens[1].spend(token).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error !== undefined) expect(error).toBeInstanceOf(RequestError);
  return (error as RequestError | undefined)?.reason;
}

/** Moves the expiry of a token into the past. */
const expire = (token: string, agoMs: number) =>
  at.one.db
    .updateTable("sallyport_tokens")
    .set(({ eb }) => ({ expires_at: eb(at.one.now, "-", agoMs) }))
    .where("hash", "=", hashToken(token))
    .execute();

async function hashes(): Promise<string[]> {
  return sorted(
    (
      await at.two.db.selectFrom("sallyport_tokens").select("hash").where("ended_at", "is", null).execute()
    ).map(({ hash }) => hash),
  );
}

describe("a token", () => {
  test("is spent once by twenty concurrent calls, and the others fail with token-replayed", async () => {
    for (let round = 0; round < 5; round++) {
      const token = await issue(ANN);
      const { passed, failed } = await at.race(20, tokens, (each) => each.spend(token));
      expect(passed).toMatchObject([{ userId: "ann" }]);
      expect(failed.map((error) => (error as RequestError).reason)).toEqual(Array(19).fill("token-replayed"));
    }
  });

  test("is spent once when many calls use many tokens", async () => {
    const issued = await Promise.all(
      Array.from({ length: 10 }, (_, index) => issue({ ...ANN, userId: `${index}` })),
    );
    const { passed } = await at.race(60, tokens, (each, index) => each.spend(issued[index % 10] as string));
    expect(sorted(passed.map(({ userId }) => userId))).toEqual(sorted(issued.map((_, index) => `${index}`)));
  });

  test("returns the data of its issue unchanged, or null", async () => {
    for (const text of ALIKE) {
      const grant = {
        userId: text,
        sessionId: `login ${text}`,
        origin: `https://${text}`,
        gatewayId: text,
        view: text,
        channel: text,
      };
      expect(await tokens[1].spend(await issue(grant))).toMatchObject(grant);
    }
    expect(await tokens[1].spend(await issue(ANN))).toMatchObject(ANN);
  });

  test("B8 is stored as its hash only, and accepted only in its exact form", async () => {
    const token = await issue(ANN);
    expect(await hashes()).toEqual([hashToken(token)]);
    const others = [token.toUpperCase(), `${token} `, hashToken(token), "", "%", "a".repeat(64)];
    for (const other of others) expect(await rejectionReason(other)).toBe("token-unknown");
    expect(await rejectionReason(token)).toBeUndefined();
  });

  test("expires by the database clock, with a different reason than a replay", async () => {
    const [expired, spent, late] = [await issue(ANN), await issue(ANN), await issue(ANN)];
    const { expires_at, created_at } = await at.two.db
      .selectFrom("sallyport_tokens")
      .select(["expires_at", "created_at"])
      .where("hash", "=", hashToken(late))
      .executeTakeFirstOrThrow();
    expect(expires_at - created_at).toBe(60_000);
    await expire(expired, 0);
    expect(await rejectionReason(expired)).toBe("token-expired");
    expect(await rejectionReason(spent)).toBeUndefined();
    await expire(spent, 1);
    expect(await rejectionReason(spent)).toBe("token-replayed");
    await expire(late, -1000 * HOUR_MS);
    expect(await rejectionReason(late)).toBeUndefined();
  });

  test("is expired if it was issued before the database clock was set back by an hour", async () => {
    const [stepped, late] = [await issue(ANN), await issue(ANN)];
    const issuedIn = (token: string, ms: number) =>
      at.one.db
        .updateTable("sallyport_tokens")
        .set(({ eb }) => ({
          created_at: eb(at.one.now, "+", ms),
          expires_at: eb(at.one.now, "+", ms + 60_000),
        }))
        .where("hash", "=", hashToken(token))
        .execute();
    await issuedIn(stepped, HOUR_MS);
    expect(await rejectionReason(stepped)).toBe("token-expired");
    // Two processes of one database can differ slightly.
    await issuedIn(late, 4_000);
    expect(await rejectionReason(late)).toBeUndefined();
  });

  test("returns the current permissions of its user and the number of the last change", async () => {
    const [first, second, third] = [
      await issue(ANN),
      await issue(ANN),
      await issue({ ...ANN, userId: "Ann" }),
    ];
    expect(await tokens[1].spend(first)).toMatchObject({
      subject: { userId: "ann", isActive: false, isSuperuser: false, permissions: [], grants: [] },
      since: 0,
    });
    const until = Date.now() + HOUR_MS;
    await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "Crew");
      await changes.grant("ann", chat.read, { until });
      await changes.grant({ group: "Crew" }, chat.write);
      await changes.addToGroup("ann", "Crew");
    });
    await at.one.db
      .updateTable("sallyport_counters")
      .set({ count: 2 ** 33 })
      .execute();
    const { subject, since } = await tokens[1].spend(second);
    expect(subject).toMatchObject({ userId: "ann", isActive: true, isSuperuser: false });
    expect(subject.grants).toHaveLength(2);
    expect(subject.grants).toContainEqual({ permission: "chat.read", group: null, until });
    expect(subject.grants).toContainEqual({ permission: "chat.write", group: "Crew", until: null });
    expect(since).toBe(2 ** 33);
    expect((await tokens[1].spend(third)).subject).toMatchObject({ isActive: false, permissions: [] });
  });

  test("is valid for the connect that spent it, until it is removed or its session ends", async () => {
    const [unspent, spent, gone] = [await issue(ANN), await issue(ANN), await issue(ANN)];
    const ended = await issue({ ...ANN, sessionId: "phone" });
    const gatewayId = await addGateway(at.one);
    const { spentAt } = await tokens[1].spend(spent);
    await tokens[0].delete(gone);
    await endSession("phone");
    const reasons = [unspent, spent, gone, ended].map(async (token) => {
      const connection = {
        ...{ id: token, gatewayId, connectionId: token, view: "/ws/chat", userId: "ann", sessionId: null },
        ...{ sourceIp: null, channel: undefined, limit: undefined, since: undefined },
        token: { hash: hashToken(token), spentAt },
      };
      const { kind } = await at.two.store.connections.open(connection, () => undefined);
      if (kind === "opened") return undefined;
      if (kind === "changed" || kind === "full" || kind === "exists") return kind;
      return spentTokenError(kind, "ann").reason;
    });
    expect(await Promise.all(reasons)).toEqual(["token-replayed", undefined, "session", "session-ended"]);
    expect(await rejectionReason(gone)).toBe("token-unknown");
  });
});

describe("revoked tokens", () => {
  test("are those of exactly one session or user, and not of similar names", async () => {
    const ofLogins = new Map<string, string>();
    const ofUsers = new Map<string, string>();
    for (const text of ALIKE) {
      ofLogins.set(text, hashToken(await issue({ ...ANN, userId: "somebody", sessionId: text })));
      ofUsers.set(text, hashToken(await issue({ ...ANN, userId: text })));
    }
    for (const text of ALIKE.slice(0, 12)) {
      await endSession(text);
      ofLogins.delete(text);
      expect(await hashes()).toEqual(sorted([...ofLogins.values(), ...ofUsers.values()]));
      await new Changes(at.one).apply({ kind: "delete-user", user: text });
      ofUsers.delete(text);
      expect(await hashes()).toEqual(sorted([...ofLogins.values(), ...ofUsers.values()]));
    }
  });

  test("are valid again if the revocation is rolled back", async () => {
    const token = await issue({ ...ANN, sessionId: "login" });
    const undone = at.one.transaction(async (db) => {
      await storeOf(at.one).tokens.endOfSession(db, "login");
      throw new Error("half-way");
    });
    await expect(undone).rejects.toThrow("half-way");
    expect(await rejectionReason(token)).toBeUndefined();
  });

  test("are spent at most once when a spend races with the end of their session", async () => {
    for (let round = 0; round < 10; round++) {
      const token = await issue({ ...ANN, sessionId: "login" });
      const { passed, failed } = await at.race(4, tokens, async (each, index) => {
        if (index === 1) await endSession("login");
        return index === 1 ? undefined : each.spend(token);
      });
      expect(passed.filter((spent) => spent !== undefined).length).toBeLessThanOrEqual(1);
      for (const error of failed) {
        expect(["session-ended", "token-replayed"]).toContain((error as RequestError).reason);
      }
      expect(await rejectionReason(token)).toBe("session-ended");
    }
  });
});

describe("a token request", () => {
  const session = { hash: "login", keepMs: HOUR_MS };
  const counted = { key: "window", limit: 3 };
  const admit = (given: Partial<TokenRequester> = {}) =>
    at.two.store.tokens.admit({ userId: "ann", session, counted, ...given });
  const users = async () =>
    (await at.one.db.selectFrom("sallyport_users").select("id").execute()).map(({ id }) => id);
  const count = async () => (await at.one.store.limits.window("window"))?.count ?? 0;

  test("returns the permissions of its user, who receives a row", async () => {
    const subject = { userId: "ann", isActive: true, isSuperuser: false, permissions: [], grants: [] };
    expect(await admit()).toEqual({ kind: "admitted", subject });
    expect(await users()).toEqual(["ann"]);
    await new Changes(at.one).grant("ann", chat.read);
    expect(await admit()).toMatchObject({ kind: "admitted", subject: { permissions: ["chat.read"] } });
    await new Changes(at.one).setActive("ann", false);
    expect(await admit()).toMatchObject({ kind: "admitted", subject: { isActive: false } });
    expect(await count()).toBe(3);
  });

  test("of an ended session is rejected, and stores nothing", async () => {
    await endSession("login");
    expect(await admit()).toEqual({ kind: "session-ended" });
    expect(await tokens[0].issue(ANN, session).catch((error: unknown) => error)).toMatchObject({
      reason: "session-ended",
      status: 401,
    });
    expect([await users(), await count(), await hashes()]).toEqual([[], 0, []]);
    expect(await admit({ session: null })).toMatchObject({ kind: "admitted" });
    expect(await admit({ session: { hash: "another", keepMs: HOUR_MS } })).toMatchObject({
      kind: "admitted",
    });
    expect(await rejectionReason(await tokens[0].issue(ANN, null))).toBeUndefined();
  });

  test("above the limit is rejected until the window ends, and not counted", async () => {
    const stores = at.each(({ store }) => store.tokens);
    const { passed, failed } = await at.race(20, stores, (each) =>
      each.admit({ userId: "ann", session, counted }),
    );
    expect(failed).toEqual([]);
    expect(passed.filter(({ kind }) => kind === "admitted")).toHaveLength(3);
    const limited = passed.filter((admission) => admission.kind === "limited");
    expect(limited).toHaveLength(17);
    for (const { leftMs } of limited) {
      expect(leftMs).toBeGreaterThan(0);
      expect(leftMs).toBeLessThanOrEqual(60_000);
    }
    expect(await count()).toBe(3);
    expect(await admit({ counted: undefined })).toMatchObject({ kind: "admitted" });
    const none = { key: "none", limit: 0 };
    expect(await admit({ userId: "eve", counted: none })).toEqual({ kind: "limited", leftMs: 60_000 });
    expect(sorted(await users())).toEqual(["ann", "eve"]);
  });
});

describe("tokens that expired long ago", () => {
  const LONG_MS = 11 * 60_000;

  async function issued(count: number, agoMs: number): Promise<string[]> {
    const made = await Promise.all(Array.from({ length: count }, () => issue(ANN)));
    for (const token of made) await expire(token, agoMs);
    return made.map(hashToken);
  }

  test("B65 are removed with each new token, a few at a time, and recent ones stay", async () => {
    const recent = await issued(3, 9 * 60_000);
    await issued(15, LONG_MS);
    await issue(ANN);
    expect(await hashes()).toHaveLength(3 + 5 + 1);
    const last = await issue(ANN);
    expect(await hashes()).toHaveLength(3 + 2);
    expect(await hashes()).toEqual(expect.arrayContaining([...recent, hashToken(last)]));
  });

  test("are removed up to a limit, each one once by concurrent calls", async () => {
    const recent = await issued(2, 0);
    await issued(25, LONG_MS);
    expect(await at.one.store.tokens.removeExpired(10)).toBe(10);
    const { passed } = await at.race(6, [at.one, at.two], ({ store }) => store.tokens.removeExpired(4));
    let removed = passed.reduce((sum, count) => sum + count, 0);
    for (let more = 1; more > 0; removed += more) more = await at.two.store.tokens.removeExpired(4);
    expect(removed).toBe(15);
    expect(await hashes()).toEqual(sorted(recent));
  });
});
