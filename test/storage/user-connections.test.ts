import { beforeEach, describe, expect, test } from "vitest";
import type { ManagementApi, PostResult } from "../../src/delivery/management-api.ts";
import { ConnectionProbes } from "../../src/events/connection-probes.ts";
import type { ConnectionScope, ConnectionStore } from "../../src/storage/stores/connections.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addSessions, type Session } from "./tables.ts";
import { ALIKE } from "./texts.ts";

const SECOND_MS = 1000;
const HOUR_MS = 60 * 60 * SECOND_MS;
/** Longest age of a connection: two hours, and five minutes for a late `$disconnect`. */
const MAX_AGE_MS = 2 * HOUR_MS + 300 * SECOND_MS;
const EVERYWHERE: ConnectionScope = { exceptViews: [] };

const at = twoProcesses();
let gateway: string;
let connections: ConnectionStore;
beforeEach(async () => {
  gateway = await addGateway(at.one);
  connections = at.two.store.connections;
});

/** Adds an open connection of ann with an age. */
async function add(id: string, ageMs: number, fields: Partial<Session> = {}): Promise<void> {
  const connected_at = (await at.time()) - ageMs;
  await addSessions(at.one, [
    { id, connection_id: `c-${id}`, user_id: "ann", gateway_id: gateway, connected_at, ...fields },
  ]);
}

const count = (scope: ConnectionScope = EVERYWHERE, userId = "ann") => connections.countOfUser(userId, scope);
const oldest = async (scope: ConnectionScope = EVERYWHERE, limit = 100) =>
  (await connections.oldestOfUser("ann", scope, limit)).map(({ id }) => id);

describe("the open connections of a user", () => {
  test("are counted without closed and anonymous ones, and those of similar user ids", async () => {
    expect(await count()).toBe(0);
    for (const [index, user_id] of ALIKE.entries()) await add(`${index}`, 0, { user_id });
    await add("open", 0);
    await add("closed", 0, { closed_at: 1 });
    await add("anonymous", 0, { user_id: null });
    // One of the ids is ann, who has two open connections.
    expect(ALIKE).toContain("ann");
    for (const user of ALIKE) {
      expect([user, await count(EVERYWHERE, user)]).toEqual([user, user === "ann" ? 2 : 1]);
    }
  });

  test("are counted at one view, or at all views but some", async () => {
    for (const view of ["/a", "/a", "/b", "/c", "/c", "/c"]) await add(`${Math.random()}`, 0, { view });
    expect(await count({ view: "/a" })).toBe(2);
    expect(await count({ view: "/A" })).toBe(0);
    expect(await count({ exceptViews: ["/a"] })).toBe(4);
    expect(await count({ exceptViews: ["/a", "/c"] })).toBe(1);
    expect(await count()).toBe(6);
  });

  test("are not counted when they are older than a connection can last", async () => {
    await add("old", MAX_AGE_MS + SECOND_MS);
    await add("young", MAX_AGE_MS - 60 * SECOND_MS);
    expect(await count()).toBe(1);
    expect(await oldest()).toEqual(["young"]);
  });

  test("are listed oldest first, without those with a connect that may be in flight", async () => {
    await add("young", 28 * SECOND_MS);
    await add("b", 40 * SECOND_MS);
    await add("old", HOUR_MS);
    await add("view", 2 * HOUR_MS, { view: "/other" });
    await add("closed", HOUR_MS, { closed_at: 1 });
    await add("bob", HOUR_MS, { user_id: "bob" });
    expect(await oldest()).toEqual(["view", "old", "b"]);
    expect(await oldest({ view: "/other" })).toEqual(["view"]);
    expect(await oldest({ exceptViews: ["/other"] }, 1)).toEqual(["old"]);
    const endpoint = "https://local.execute-api.eu-west-1.amazonaws.com/prod";
    expect(await connections.oldestOfUser("ann", { view: "/other" }, 1)).toEqual([
      { id: "view", connectionId: "c-view", endpoint },
    ]);
  });
});

describe("a probe of the connections of a user", () => {
  /** Results by connection id. Every other connection exists. */
  let results: Record<string, () => Promise<PostResult>>;
  let probed: string[];
  let client: ManagementApi;
  let probes: ConnectionProbes;
  beforeEach(() => {
    results = {};
    probed = [];
    client = {
      get: (_endpoint, connectionId) => {
        probed.push(connectionId);
        return results[connectionId]?.() ?? Promise.resolve({ kind: "ok" });
      },
      post: async () => ({ kind: "ok" }),
      delete: async () => ({ kind: "ok" }),
      close: async () => undefined,
    };
    probes = new ConnectionProbes(client, connections);
  });

  const gone = async (): Promise<PostResult> => ({ kind: "gone" });
  const closedRows = async () => {
    const rows = await at.one.db
      .selectFrom("sallyport_connections")
      .select(["id", "close_reason"])
      .where("closed_at", "is not", null)
      .execute();
    return sorted(rows.map(({ id, close_reason }) => `${id} ${close_reason}`));
  };

  test("closes those that are gone, and returns their number", async () => {
    for (const id of ["a", "b", "c", "d", "e"]) await add(id, HOUR_MS);
    Object.assign(results, {
      "c-a": gone,
      "c-b": async () => ({ kind: "failed", reason: "status 403" }),
      "c-c": () => Promise.reject(new Error("no route to host")),
      "c-e": gone,
    });
    expect(await probes.closeGone("ann", EVERYWHERE)).toBe(2);
    expect(await closedRows()).toEqual(["a gone", "e gone"]);
    expect(await probes.closeGone("ann", EVERYWHERE)).toBe(0);
    expect(await count()).toBe(3);
  });

  test("covers the 20 oldest connections of its scope", async () => {
    for (let index = 0; index < 22; index++) await add(`${index}`, HOUR_MS + index * SECOND_MS);
    await add("other", 2 * HOUR_MS, { view: "/other" });
    await probes.closeGone("ann", { exceptViews: ["/other"] });
    expect(sorted(probed)).toEqual(sorted(Array.from({ length: 20 }, (_, index) => `c-${index + 2}`)));
  });

  test("is shared by concurrent calls of one scope, and those of another scope follow it", async () => {
    await add("a", HOUR_MS, { view: "/a" });
    await add("b", HOUR_MS, { view: "/b" });
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    results["c-a"] = () => held.then(gone);
    results["c-b"] = gone;
    const first = [probes.closeGone("ann", { view: "/a" }), probes.closeGone("ann", { view: "/a" })];
    const second = [probes.closeGone("ann", { view: "/b" }), probes.closeGone("ann", { view: "/b" })];
    await expect.poll(() => probed).toEqual(["c-a"]);
    expect(await probes.closeGone("bob", { view: "/a" })).toBe(0);
    expect(probed).toEqual(["c-a"]);
    release();
    expect(await Promise.all(first)).toEqual([1, 1]);
    expect(await Promise.all(second)).toEqual([1, 1]);
    expect(probed).toEqual(["c-a", "c-b"]);
    await probes.closeGone("ann", { view: "/a" });
    expect(await closedRows()).toEqual(["a gone", "b gone"]);
  });

  test("does not prevent a later one when it fails", async () => {
    await add("a", HOUR_MS);
    results["c-a"] = gone;
    await at.one.db.schema.alterTable("sallyport_gateways").renameColumn("endpoint", "moved").execute();
    const failing = [
      probes.closeGone("ann", EVERYWHERE),
      probes.closeGone("ann", EVERYWHERE),
      probes.closeGone("ann", { view: "/ws/chat" }),
    ];
    const settled = await Promise.allSettled(failing);
    expect(settled.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    await at.one.db.schema.alterTable("sallyport_gateways").renameColumn("moved", "endpoint").execute();
    expect(await probes.closeGone("ann", { view: "/ws/chat" })).toBe(1);
  });

  test("waits two seconds for all answers, and closes those that are known to be gone by then", async () => {
    for (const id of ["a", "b"]) await add(id, HOUR_MS);
    let release: () => void = () => undefined;
    const late = new Promise<void>((resolve) => {
      release = resolve;
    });
    results["c-a"] = gone;
    results["c-b"] = () => late.then(gone);
    expect(await probes.closeGone("ann", EVERYWHERE)).toBe(1);
    release();
    expect(await closedRows()).toEqual(["a gone"]);
  });

  test("waits until the client is ready", async () => {
    await add("a", HOUR_MS);
    results["c-a"] = gone;
    const endpoints: string[] = [];
    client.ready = async (endpoint) => {
      endpoints.push(endpoint);
      expect(probed).toEqual([]);
    };
    expect(await probes.closeGone("ann", EVERYWHERE)).toBe(1);
    expect(endpoints).toEqual(["https://local.execute-api.eu-west-1.amazonaws.com/prod"]);
  });
});
