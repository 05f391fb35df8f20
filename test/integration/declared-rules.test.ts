import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RuleChange } from "../../src/admin/compare-rules.ts";
import type { SallyportOptions } from "../../src/config.ts";
import { definePermissions } from "../../src/permissions/define.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { ORIGIN } from "./world.ts";

const shop = definePermissions("shop", { buy: "Buy", sell: "Sell", audit: "Audit" });
const aisle = defineChannel("aisles/:name", { permissionsRequired: [shop.buy] });
const vault = defineChannel("aisles/vault", { allPermissionsRequired: [shop.audit] });

class Shop extends WebSocketView {
  static override permissionsRequired = [shop.buy];
  order = handler({ signedIn: true }, () => ({}));
  offer = handler({ allPermissionsRequired: [shop.sell] }, () => ({}));
}

let folder: string;
let running: Sallyport;
const apps: Sallyport[] = [];

function version(options: Partial<SallyportOptions>): Sallyport {
  const app = createSallyport({
    storage: sqlite(join(folder, "shop.db")),
    permissions: [shop],
    channels: [aisle, vault],
    views: { "/ws/shop": Shop },
    origins: [ORIGIN],
    authenticate: () => null,
    ...options,
  });
  apps.push(app);
  return app;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-rules-"));
  running = version({});
  await running.migrate();
  await running.access.grant("ann", shop.buy);
  await running.access.grant("bob", shop.sell);
  await running.access.grant({ group: "Auditors" }, shop.audit);
  await running.access.users.addToGroup("cat", "Auditors");
  await running.access.grant("cat", shop.buy);
  await running.access.users.setSuperuser("rita", true);
  await running.access.grant("off", shop.buy);
  await running.access.users.setActive("off", false);
});
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
  await rm(folder, { recursive: true, force: true });
});

const brief = (changes: readonly RuleChange[]) =>
  changes.map(({ kind, name, change, widens, gains, loses }) => ({
    kind,
    name,
    change,
    widens,
    gains,
    loses,
  }));

describe("a new version of the rules", () => {
  test("without changes has no differences", async () => {
    expect(await version({}).access.permissions.ruleChanges()).toEqual([]);
  });

  test("that narrows a view lists the users who lose it, and does not widen", async () => {
    class Narrow extends Shop {
      static override permissionsRequired = [shop.audit];
    }
    expect(brief(await version({ views: { "/ws/shop": Narrow } }).access.permissions.ruleChanges())).toEqual([
      { kind: "view", name: "/ws/shop", change: "changed", widens: false, gains: [], loses: ["ann"] },
    ]);
  });

  test("that adds a permission to an any-list widens, even if no user gains access", async () => {
    class Wide extends Shop {
      static override permissionsRequired = [shop.buy, shop.sell];
      static override inheritRules = false;
    }
    expect(brief(await version({ views: { "/ws/shop": Wide } }).access.permissions.ruleChanges())).toEqual([
      { kind: "view", name: "/ws/shop", change: "changed", widens: true, gains: ["bob"], loses: [] },
    ]);
    await running.access.revoke("bob", shop.sell);
    expect(
      brief(await version({ views: { "/ws/shop": Wide } }).access.permissions.ruleChanges()),
    ).toMatchObject([{ widens: true, gains: [] }]);
  });

  test("that loosens or adds a handler lists the users who gain it", async () => {
    class Generous extends WebSocketView {
      static override permissionsRequired = [shop.buy];
      order = handler({ signedIn: true }, () => ({}));
      offer = handler(() => ({}));
      refund = handler({ allPermissionsRequired: [shop.audit] }, () => ({}));
    }
    expect(
      brief(await version({ views: { "/ws/shop": Generous } }).access.permissions.ruleChanges()),
    ).toEqual([
      {
        kind: "handler",
        name: "/ws/shop offer",
        change: "changed",
        widens: true,
        gains: ["ann", "cat"],
        loses: [],
      },
      {
        kind: "handler",
        name: "/ws/shop refund",
        change: "added",
        widens: true,
        gains: ["cat", "rita"],
        loses: [],
      },
    ]);
  });

  test("that removes an authorize hook widens, and one that adds it does not", async () => {
    const guarded = defineChannel("aisles/:name", { permissionsRequired: [shop.buy], authorize: () => true });
    const next = version({ channels: [guarded, vault] });
    expect(brief(await next.access.permissions.ruleChanges())).toMatchObject([
      { kind: "channel", name: "aisles/:name", widens: false },
    ]);
    await next.migrate();
    expect(brief(await running.access.permissions.ruleChanges())).toMatchObject([
      { kind: "channel", name: "aisles/:name", widens: true },
    ]);
  });

  test("that removes the stricter of two channel definitions widens, and one that removes both does not", async () => {
    expect(brief(await version({ channels: [aisle] }).access.permissions.ruleChanges())).toMatchObject([
      { kind: "channel", name: "aisles/vault", change: "removed", widens: true },
    ]);
    expect(brief(await version({ channels: [] }).access.permissions.ruleChanges())).toMatchObject([
      { name: "aisles/:name", change: "removed", widens: false },
      { name: "aisles/vault", change: "removed", widens: false },
    ]);
  });

  test("that removes a send requirement lists the users who can send", async () => {
    const closed = defineChannel("news", { signedIn: true, sendRequired: [shop.audit] });
    const opened = defineChannel("news", { signedIn: true });
    await version({ channels: [closed] }).migrate();
    const changes = await version({ channels: [opened] }).access.permissions.ruleChanges();
    expect(brief(changes.filter(({ change }) => change === "changed"))).toEqual([
      { kind: "sending", name: "news", change: "changed", widens: true, gains: ["ann", "bob"], loses: [] },
    ]);
  });

  test("cannot be compared before the first migrate", async () => {
    const empty = version({ storage: sqlite(join(folder, "empty.db")) });
    await expect(empty.access.permissions.ruleChanges()).rejects.toThrow(/npx sallyport migrate/);
    await empty.migrate();
    expect(await empty.access.permissions.ruleChanges()).toEqual([]);
  });
});

test("migrate stores the rules, and writes an audit entry only if they changed", async () => {
  await running.migrate();
  expect((await running.access.audit.list()).filter(({ action }) => action === "rules-changed")).toEqual([]);
  class Narrow extends Shop {
    static override permissionsRequired = [shop.audit];
  }
  const next = version({ views: { "/ws/shop": Narrow } });
  await next.migrate();
  expect(await next.access.permissions.ruleChanges()).toEqual([]);
  expect((await next.access.audit.list())[0]).toMatchObject({ action: "rules-changed", by: "migrate" });
});
