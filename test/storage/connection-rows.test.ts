import { beforeEach, describe, expect, test } from "vitest";
import { MAX_CONNECTION_ROW_AGE_MS } from "../../src/protocol/quotas.ts";
import type { ConnectionStore } from "../../src/storage/stores/connections.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions } from "./tables.ts";
import { idsOfAllForms } from "./texts.ts";

const at = twoProcesses();
let sessions: readonly [ConnectionStore, ConnectionStore];
let gateway: string;
beforeEach(async () => {
  sessions = at.each(({ store }) => store.connections);
  gateway = await addGateway(at.one);
});

/** Adds connections of a gateway, each in two channels. */
async function add(ids: readonly string[], gateway_id = gateway): Promise<void> {
  await addSessions(
    at.one,
    ids.map((id) => ({ id, gateway_id })),
  );
  const channels = ["room", "Room"].flatMap((channel) =>
    ids.map((connection_key) => ({ connection_key, channel })),
  );
  await addMemberships(at.one.db, channels);
}

async function rows(): Promise<string[]> {
  return sorted(
    (await at.two.db.selectFrom("sallyport_connections").select("id").execute()).map(({ id }) => id),
  );
}

/** Returns the ids of connections in channels, once for each channel. */
async function members(): Promise<string[]> {
  const query = at.two.db.selectFrom("sallyport_memberships").select("connection_key");
  return sorted((await query.execute()).map(({ connection_key }) => connection_key));
}

const twice = (ids: readonly string[]) => sorted([...ids, ...ids]);

describe("the connections of a gateway that was restarted", () => {
  test("are closed and leave their channels, each counted once, without those of other gateways", async () => {
    const other = await addGateway(at.one, "other");
    const ids = idsOfAllForms(300);
    const elsewhere = ids.slice(0, 20).map((id) => `${id} elsewhere`);
    await add(ids);
    await add(elsewhere, other);
    await sessions[0].closeMany(ids.slice(0, 5), "permission ended");
    const { connection_id } = await at.one.db
      .selectFrom("sallyport_connections")
      .select("connection_id")
      .where("id", "=", ids[299] as string)
      .executeTakeFirstOrThrow();
    await sessions[0].disconnect(gateway, connection_id, { code: undefined, reason: undefined });
    const { passed } = await at.race(4, sessions, (each) => each.closeAllOf(gateway, "started anew"));
    expect(sorted(passed)).toEqual([0, 0, 0, 299]);
    expect(await members()).toEqual(sorted([...twice(elsewhere), ids[299], ids[299]]));
    for (const id of [ids[0], ids[298]]) expect(await sessions[1].isConnected(id as string)).toBe(false);
    for (const id of elsewhere) expect(await sessions[1].findById(id)).toMatchObject({ id });
    expect(await rows()).toHaveLength(320);
  });
});

describe("connections that are too old", () => {
  async function aged(ids: readonly string[], ageMs: number): Promise<void> {
    await add(ids);
    await at.one.db
      .updateTable("sallyport_connections")
      .set(({ eb }) => ({ connected_at: eb(at.one.now, "-", ageMs) }))
      .where("id", "in", ids)
      .execute();
  }

  test("are removed with their memberships up to a limit, each once, and others stay", async () => {
    const ids = idsOfAllForms(1700);
    const [old, young] = [ids.slice(0, 1600), ids.slice(1600)];
    await aged(young, 3 * MAX_CONNECTION_ROW_AGE_MS - 60_000);
    await aged(old, 3 * MAX_CONNECTION_ROW_AGE_MS + 1);
    const remove = (each: ConnectionStore) => each.removeOlder(3 * MAX_CONNECTION_ROW_AGE_MS, 300);
    expect(await remove(sessions[0])).toBe(300);
    expect(await members()).toHaveLength(2 * 1400);
    const { passed, failed } = await at.race(4, sessions, remove);
    expect(failed).toEqual([]);
    let removed = passed.reduce((sum, count) => sum + count, 0);
    for (let more = 1; more > 0; removed += more) more = await remove(sessions[1]);
    expect(removed).toBe(1300);
    expect(await rows()).toEqual(sorted(young));
    expect(await members()).toEqual(twice(young));
  });

  test("are removed oldest first, and never below the maximum age of a connection", async () => {
    await aged(["young"], MAX_CONNECTION_ROW_AGE_MS - 60_000);
    await aged(["old"], MAX_CONNECTION_ROW_AGE_MS + 60_000);
    await aged(["OLD"], MAX_CONNECTION_ROW_AGE_MS + 120_000);
    expect(await sessions[0].removeOlder(0, 1)).toBe(1);
    expect(await rows()).toEqual(["old", "young"]);
    expect(await sessions[1].removeOlder(0, 10)).toBe(1);
    expect(await rows()).toEqual(["young"]);
  });
});
