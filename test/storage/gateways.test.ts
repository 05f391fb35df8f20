import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ConfigurationError } from "../../src/errors.ts";
import {
  type GatewayRegistration,
  Gateways,
  gatewaySecret,
  hashSecret,
} from "../../src/gateways/gateways.ts";
import { changedStorage } from "../postgres/database.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addSessions } from "./tables.ts";

const ENDPOINT = "https://abc123.execute-api.eu-west-1.amazonaws.com/prod";

const at = twoProcesses();
let gateways: readonly [Gateways, Gateways];
beforeEach(() => {
  gateways = at.each((database) => new Gateways(database));
});
afterEach(() => {
  vi.useRealTimers();
});

const register = (given: Partial<GatewayRegistration> = {}) =>
  gateways[0].register({ name: "main", endpoint: ENDPOINT, ...given });

/** As a process reads them that has kept nothing. */
const listed = () => new Gateways(at.two).list();

describe("a gateway", () => {
  test("is read in another process as it was registered, with null and defaults for what was not said", async () => {
    const secret = gatewaySecret();
    const { id } = await register({ secret });
    const plain = { id, name: "main", apiId: null, stage: "prod", endpoint: ENDPOINT, replies: "route" };
    expect(await listed()).toEqual([{ ...plain, secretHashes: [hashSecret(secret)] }]);
    const endpoint = "https://x.example.com/a/b//";
    await register({ apiId: "Abc", stage: "v1_Ä'\"", endpoint, replies: "push" });
    const changed = {
      apiId: "Abc",
      stage: "v1_Ä'\"",
      endpoint: "https://x.example.com/a/b",
      replies: "push",
    };
    expect(await listed()).toEqual([{ ...plain, ...changed, secretHashes: [hashSecret(secret)] }]);
    await register();
    expect(await listed()).toEqual([{ ...plain, secretHashes: [hashSecret(secret)] }]);
  });

  test("is one row where many register its name at once, and its sessions stay when it is replaced", async () => {
    const secrets = Array.from({ length: 20 }, gatewaySecret);
    const { passed, failed } = await at.race(20, gateways, (each, index) =>
      each.register({ name: "main", endpoint: ENDPOINT, secret: secrets[index] as string }),
    );
    expect(failed).toEqual([]);
    const ids = new Set(passed.map(({ id }) => id));
    expect(ids.size).toBe(1);
    const [id] = ids;
    await addSessions(at.one, [{ gateway_id: id as string }]);
    const last = await register({ secret: gatewaySecret() });
    expect(last.id).toBe(id);
    expect(await listed()).toHaveLength(1);
    expect(await at.two.db.selectFrom("sallyport_sessions").select("gateway_id").execute()).toEqual([
      { gateway_id: id },
    ]);
  });

  test("is no other whose name is alike", async () => {
    const names = ["main", "Main", "MAIN", "main ", " main", "ma_n", "ma-n", "m ain", "10", "9", "09"];
    const endpoint = (index: number) => `https://g${index}.example.com/prod`;
    for (const [index, name] of names.entries()) await register({ name, endpoint: endpoint(index) });
    await register({ name: "Main", endpoint: endpoint(99) });
    const found = Object.fromEntries((await listed()).map(({ name, endpoint: url }) => [name, url]));
    const expected = names.map((name, index) => [name, endpoint(name === "Main" ? 99 : index)]);
    expect(found).toEqual(Object.fromEntries(expected));
  });
});

describe("a secret", () => {
  const SECRETS = Array.from({ length: 4 }, gatewaySecret) as [string, string, string, string];
  const hashes = async () => (await listed()).flatMap(({ secretHashes }) => secretHashes);

  test("is accepted beside the new one during a rotation, which may be told twice", async () => {
    const [first, second, third] = SECRETS;
    await register({ secret: first });
    for (let times = 0; times < 2; times++) {
      await register({ secret: second, keepPreviousSecret: true });
      expect(await hashes()).toEqual([hashSecret(second), hashSecret(first)]);
    }
    await register();
    expect(await hashes()).toEqual([hashSecret(second), hashSecret(first)]);
    await register({ secret: third, keepPreviousSecret: true });
    expect(await hashes()).toEqual([hashSecret(third), hashSecret(second)]);
    await register({ secret: third });
    expect(await hashes()).toEqual([hashSecret(third)]);
  });

  test("is one gateway's alone, where several want it at once and while it is still accepted", async () => {
    const [first, second] = SECRETS;
    const { passed, failed } = await at.race(10, gateways, (each, index) =>
      each.register({ name: `gateway ${index}`, endpoint: ENDPOINT, secret: first }),
    );
    expect(passed).toHaveLength(1);
    expect(failed.filter((error) => error instanceof ConfigurationError)).toHaveLength(9);
    const name = passed[0]?.name as string;
    await register({ name, secret: second, keepPreviousSecret: true });
    await expect(register({ name: "another", secret: first })).rejects.toThrow(/same secret/);
    expect((await listed()).map((gateway) => gateway.name)).toEqual([name]);
    await register({ name, secret: second });
    await register({ name: "another", secret: first });
    expect(sorted(await hashes())).toEqual(sorted([hashSecret(first), hashSecret(second)]));
  });
});

describe("what is known of gateways in another process", () => {
  test("is at most five seconds old, and one when somebody unknown calls", async () => {
    const now = Date.now();
    vi.useFakeTimers({ toFake: ["Date"], now });
    const { id: first } = await register({ name: "first" });
    expect((await gateways[1].list()).map(({ id }) => id)).toEqual([first]);
    const { id: second } = await register({ name: "second" });
    vi.setSystemTime(now + 4999);
    expect((await gateways[1].list()).map(({ id }) => id)).toEqual([first]);
    vi.setSystemTime(now + 5000);
    expect((await gateways[1].list()).map(({ id }) => id)).toEqual([first, second]);

    const { id: third } = await register({ name: "third" });
    vi.setSystemTime(now + 5999);
    expect(await gateways[1].find(third)).toBeUndefined();
    vi.setSystemTime(now + 6000);
    expect(await gateways[1].find(third)).toMatchObject({ id: third, name: "third" });
    const { id: fourth } = await register({ name: "fourth" });
    vi.setSystemTime(now + 7000);
    const many = await gateways[1].findMany([first, fourth, "none"]);
    expect(sorted(many.keys())).toEqual(sorted([first, second, third, fourth]));
    expect(await gateways[1].find("none")).toBeUndefined();
  });

  test("loses one that was removed, though its id is still asked for", async () => {
    const { id } = await register();
    expect(await gateways[1].find(id)).toMatchObject({ id });
    await at.one.db.deleteFrom("sallyport_gateways").where("id", "=", id).execute();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 5000 });
    expect(await gateways[1].find(id)).toBeUndefined();
    expect([...(await gateways[1].findMany([id])).keys()]).toEqual([]);
  });
});

describe("a read that is in flight during a change", () => {
  /** Gateways whose first read returns its rows only after `release()`. The rows are those of its beginning. */
  function withHeldRead() {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isRead = false;
    const heldDb = at.one.db.withPlugin({
      transformQuery: ({ node }) => node,
      transformResult: async ({ result }) => {
        isRead = true;
        await held;
        return result;
      },
    });
    // The held read keeps its connection, so everything after it uses another one.
    const dbs = [heldDb];
    const storage = changedStorage(at.two, {
      get db() {
        return dbs.shift() ?? at.two.db;
      },
    });
    const isHeld = () => expect.poll(() => isRead).toBe(true);
    return { slow: new Gateways(storage), release, isHeld };
  }

  test("does not decide what a new registration returns", async () => {
    const { slow, release, isHeld } = withHeldRead();
    const before = slow.list();
    await isHeld();
    const registered = slow.register({ name: "new", endpoint: ENDPOINT });
    await expect(registered).resolves.toMatchObject({ name: "new", endpoint: ENDPOINT });
    release();
    await before;
    expect((await slow.list()).map(({ name }) => name)).toEqual(["new"]);
  });

  test("does not bring back the endpoint that a second registration replaced", async () => {
    await register();
    const { slow, release, isHeld } = withHeldRead();
    const before = slow.list();
    await isHeld();
    const endpoint = "https://new.example.com/prod";
    await expect(slow.register({ name: "main", endpoint })).resolves.toMatchObject({ endpoint });
    release();
    // The caller of the older read gets the newer rows, too.
    expect(await before).toMatchObject([{ endpoint }]);
    expect(await slow.list()).toMatchObject([{ endpoint }]);
  });

  test("does not bring back a removed gateway or a secret that is no longer accepted", async () => {
    const secret = gatewaySecret();
    await register({ secret });
    await register({ name: "other", endpoint: ENDPOINT });
    const { slow, release, isHeld } = withHeldRead();
    const before = slow.list();
    await isHeld();
    await slow.accept("main", [hashSecret("next")]);
    await slow.remove("other");
    release();
    await before;
    expect(await slow.list()).toMatchObject([{ name: "main", secretHashes: [hashSecret("next")] }]);
  });
});
