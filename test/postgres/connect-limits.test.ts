import { afterEach, expect, test } from "vitest";
import { ConnectLimits } from "../../src/auth/connect-limits.ts";
import { limitKey } from "../../src/auth/limit-keys.ts";
import { LimitSettings, limitsSchema, RateLimits } from "../../src/auth/limits.ts";
import { parseOptions } from "../../src/options.ts";
import { ownDatabase, sqlAt } from "./database.ts";
import { postgresDatabase } from "./storage-at.ts";

const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

test("counts no connect for its address if the user's limit is reached while it waits", async () => {
  const own = await ownDatabase();
  const storage = postgresDatabase(own.source);
  opened.push(storage, { close: () => own.drop() });
  await storage.migrate();
  const settings = new LimitSettings(parseOptions("limits", limitsSchema, { connectsPerUser: 2 }), new Map());
  const { limits: store } = storage.store;
  const limits = new ConnectLimits(store, settings, new RateLimits(store));
  const attempt = (block: string) => ({ gatewayId: "g", view: "/ws", block });
  await limits.take(attempt("192.0.2.0"), "ann");

  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const key = limitKey({ limit: "connectsPerUser", subject: "ann", gatewayId: "g", view: null });
  const other = storage.sharedTransaction(async (db) => {
    await db.updateTable("sallyport_counters").set({ count: 2 }).where("key", "=", key).execute();
    await held;
  });
  const connects = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((block) => limits.take(attempt(block), "ann"));
  const settled = Promise.allSettled(connects);
  const inDatabase = "pid in (select pid from pg_stat_activity where datname = current_database())";
  const waiting = async () =>
    (await sqlAt(own.source, `select 1 from pg_locks where not granted and ${inDatabase}`)).length;
  await expect.poll(waiting).toBe(3);
  release();
  await other;
  expect((await settled).map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  const rows = await storage.db.selectFrom("sallyport_counters").select("key").execute();
  expect(rows.filter(({ key: counted }) => counted.startsWith('["connectsPerIp"'))).toHaveLength(1);
});
