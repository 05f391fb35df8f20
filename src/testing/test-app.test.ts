import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { definePermissions } from "../permissions/define.ts";
import { createSallyport } from "../sallyport.ts";
import { sqlite } from "../storage/sqlite.ts";
import { defineChannel } from "../views/channel.ts";
import { handler } from "../views/handler.ts";
import { WebSocketView } from "../views/view.ts";
import { accessMatrix, createTestApp, DeniedError, expectAccessMatrix, type TestApp } from "./testing.ts";

const shop = definePermissions("shop", { buy: "Buy", sell: "Sell" });
const left: (string | undefined)[] = [];

class Shop extends WebSocketView {
  static override permissionsRequired = [shop.buy];
  order = handler(async ({ body, user, to }) => {
    await to({ channel: "aisles/fruit" }).send({ type: "ordered", by: user.id });
    return { ordered: body.what };
  });
  offer = handler({ allPermissionsRequired: [shop.sell] }, ({ user }) => user.id);
  own = handler({ authorize: ({ body, user }) => body.owner === user.id }, () => "yours");
  broken = handler(() => {
    throw new Error("a bug");
  });
  override disconnect({ userId }: { userId: string | undefined }) {
    left.push(userId);
  }
}
class Open extends WebSocketView {
  static override allowAnonymous = true;
  hello = handler(({ user }) => ({ user: user.id ?? null }));
}

const app = () =>
  createSallyport({
    storage: sqlite("/nonexistent/never-opened.db"),
    permissions: [shop],
    channels: [
      defineChannel("aisles/:name", { permissionsRequired: [shop.buy] }),
      defineChannel("till", { signedIn: true, sendRequired: [shop.sell], authorize: () => true }),
    ],
    views: { "/ws/shop": Shop, "/ws/open": Open },
    origins: ["https://www.example.com"],
    authenticate: () => {
      throw new Error("the app's login is not asked in a test");
    },
  });

describe("the test app", () => {
  let harness: TestApp;
  beforeEach(async () => {
    left.length = 0;
    harness = await createTestApp(app());
  });
  afterEach(async () => {
    await harness.close();
    expect(harness.errors.map(String)).toEqual([]);
  });
  const view = "/ws/shop";

  test("B67 connects users with real authorization, calls handlers, and records messages", async () => {
    const ann = await harness.connectAs<Shop>("ann", {
      view,
      channel: "aisles/fruit",
      permissions: [shop.buy],
    });
    const bob = await harness.connectAs<Shop>("bob", { view, channel: "aisles/fruit", superuser: true });
    expect(await ann.call.order({ what: "pears" })).toEqual({ ordered: "pears" });
    expect(bob.received).toEqual([{ type: "ordered", by: "ann" }]);
    expect(bob.message("ordered")).toEqual({ type: "ordered", by: "ann" });
    expect(() => bob.message("sold")).toThrow(/No message of type "sold"/);
    expect(await bob.call.offer()).toBe("bob");
    expect(await ann.send({ handler: "order", what: "figs" })).toMatchObject({ status: 200 });
    await ann.close();
    expect(left).toEqual(["ann"]);
    expect(() => ann.send("{}")).toThrow(/closed/);
    const anonymous = await harness.connectAs<Open>(null, { view: "/ws/open" });
    expect(await anonymous.call.hello()).toEqual({ user: null });
  });

  test("B67 returns the reason of a denial, and fails if access was allowed", async () => {
    expect(await harness.expectForbidden("eve", { view })).toMatchObject({
      reason: "permission",
      missing: [shop.buy],
    });
    expect(await harness.expectForbidden(null, { view })).toMatchObject({ reason: "token-missing" });
    const ann = await harness.connectAs<Shop>("ann", { view, permissions: [shop.buy] });
    expect(await ann.expectForbidden("offer")).toMatchObject({ missing: [shop.sell], handler: "offer" });
    expect(await ann.expectForbidden("own", { owner: "bob" })).toMatchObject({ reason: "authorize" });
    await expect(ann.expectForbidden("own", { owner: "ann" })).rejects.toThrow(
      /must be denied to ann, but it was allowed/,
    );
    await expect(harness.expectForbidden("ann", { view })).rejects.toThrow(
      /must be denied, but the connection opened/,
    );
    await expect(ann.call.offer()).rejects.toThrow(DeniedError);
    await expect(ann.call.offer()).rejects.toThrow(
      /offer failed with status 403: Shop.offer needs shop.sell/,
    );
    await expect(ann.expectForbidden("broken")).rejects.toThrow(
      /must be denied with status 403, but it failed with status 500/,
    );
    expect(harness.errors.splice(0).map(String)).toEqual(["Error: a bug"]);
  });

  test("closes a connection after a revocation, with the notice, disconnect() and the reason", async () => {
    const ann = await harness.connectAs<Shop>("ann", { view, groups: ["Buyers"], permissions: [shop.buy] });
    await harness.sallyport.access.revoke("ann", shop.buy, { by: "boss" });
    expect(ann.isClosed).toBe(true);
    const { reference } = ann.message("sallyport.revoked");
    expect(await harness.sallyport.access.explain(reference as string)).toMatchObject({
      event: "revocation",
      missing: [shop.buy],
    });
    await expect.poll(() => left).toEqual(["ann"]);
  });

  test("has a clock that can be advanced, so that grants expire and connections close", async () => {
    const until = (await harness.clock.now()) + 3_600_000;
    await harness.sallyport.access.grant("ann", shop.buy, { until });
    const ann = await harness.connectAs<Shop>("ann", { view });
    await harness.clock.advance("59m");
    expect(ann.isClosed).toBe(false);
    await harness.clock.advance(60_000);
    expect(ann.isClosed).toBe(true);
    expect(await harness.clock.now()).toBeGreaterThanOrEqual(until);
    await expect(harness.clock.advance("soon")).rejects.toThrow(/"90s"/);
    await expect(harness.clock.advance(-1)).rejects.toThrow(/milliseconds/);
  });

  test("requires the view option if the app has several views", async () => {
    await expect(harness.connectAs("ann")).rejects.toThrow(/the app has 2 views.* Set the option view/);
    await expect(harness.connectAs("ann", { view: "/ws/none", superuser: true })).rejects.toThrow(
      /No view is mounted/,
    );
  });
});

describe("the access matrix", () => {
  let file: string;
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "sallyport-matrix-"));
    file = join(folder, "access-matrix.txt");
    vi.stubEnv("CI", "");
    vi.stubEnv("UPDATE_ACCESS_MATRIX", "");
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true, force: true });
  });

  const roles = {
    visitor: null,
    buyer: [shop.buy],
    seller: [shop.buy, shop.sell],
    root: "superuser",
  } as const;

  test("lists the access of each role", async () => {
    const matrix = await accessMatrix(app(), roles);
    expect(matrix.toString()).toBe(
      [
        "                        | visitor | buyer | seller | root",
        "/ws/shop                | no      | yes   | yes    | yes",
        "/ws/shop order          | no      | yes   | yes    | yes",
        "/ws/shop offer          | no      | no    | yes    | yes",
        "/ws/shop own            | no      | data  | data   | data",
        "/ws/shop broken         | no      | yes   | yes    | yes",
        "/ws/open                | yes     | yes   | yes    | yes",
        "/ws/open hello          | yes     | yes   | yes    | yes",
        "channel aisles/:name    | no      | yes   | yes    | yes",
        "sending to aisles/:name | no      | yes   | yes    | yes",
        "channel till            | no      | data  | data   | data",
        "sending to till         | no      | no    | data   | data",
        "",
      ].join("\n"),
    );
  });

  test("fails when access widens, and is updated when it narrows", async () => {
    const matrix = await accessMatrix(app(), roles);
    await expectAccessMatrix(matrix, file);
    const kept = await readFile(file, "utf8");
    expect(kept).toBe(matrix.toString());

    const stricter = kept
      .replace(/^(\/ws\/shop offer .*?)\| yes /m, "$1| no  ")
      .replace(/^channel till.*\n/m, "");
    await writeFile(file, stricter);
    const widened = await expectAccessMatrix(matrix, file).catch(String);
    expect(widened).toContain("seller: /ws/shop offer: no → yes");
    expect(widened).toContain("buyer: channel till: no → data");
    expect(widened).not.toContain("visitor:");
    expect(await readFile(file, "utf8")).toBe(stricter);

    vi.stubEnv("UPDATE_ACCESS_MATRIX", "1");
    await expectAccessMatrix(matrix, file);
    expect(await readFile(file, "utf8")).toBe(kept);

    vi.stubEnv("UPDATE_ACCESS_MATRIX", "");
    const looser = kept.replace(/^(\/ws\/shop offer .*?)\| no /m, "$1| yes");
    await writeFile(file, looser);
    vi.stubEnv("CI", "true");
    await expect(expectAccessMatrix(matrix, file)).rejects.toThrow(/out of date/);
    vi.stubEnv("CI", "");
    await expectAccessMatrix(matrix, file);
    expect(await readFile(file, "utf8")).toBe(kept);
  });
});

test("rejects misspelled options", async () => {
  await expect(createTestApp(app(), { limit: {} } as never)).rejects.toThrow(
    /createTestApp\(\): limit is not an option\. Did you mean "limits"\?/,
  );
  const harness = await createTestApp(app());
  await expect(harness.connectAs("ann", { permission: [] } as never)).rejects.toThrow(
    /connectAs\(\): permission is not an option\. Did you mean "permissions"\?/,
  );
  await harness.close();
});
