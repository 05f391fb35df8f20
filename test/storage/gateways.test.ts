import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type GatewayRegistration, Gateways, gatewaySecret, hashSecret } from "../../src/auth/gateways.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { SqlGateways } from "../../src/storage/sql/gateways.ts";
import type { Store } from "../../src/storage/store.ts";
import type { Gateway } from "../../src/storage/stores/gateways.ts";
import { changedStorage } from "../postgres/database.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addSessions } from "./tables.ts";

const ENDPOINT = "https://abc123.execute-api.eu-west-1.amazonaws.com/prod";

const at = twoProcesses();
let gateways: readonly [Gateways, Gateways];
beforeEach(() => {
  gateways = at.each((database) => new Gateways(database.store));
});
afterEach(() => {
  vi.useRealTimers();
});

const register = (given: Partial<GatewayRegistration> = {}) =>
  gateways[0].register({ name: "main", endpoint: ENDPOINT, ...given });

/** Reads the gateways as a process without a cache. */
const listed = () => new Gateways(at.two.store).list();

describe("a gateway", () => {
  test("is read in another process as it was registered, with defaults for missing options", async () => {
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

  test("is one row when many register its name at once, and keeps its connections when replaced", async () => {
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
    expect(await at.two.db.selectFrom("sallyport_connections").select("gateway_id").execute()).toEqual([
      { gateway_id: id },
    ]);
  });

  test("is not confused with gateways with similar names", async () => {
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

  test("is accepted together with the new one during a rotation, which can be repeated", async () => {
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

  test("belongs to one gateway, also with concurrent registrations and during a rotation", async () => {
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

describe("a registration", () => {
  const rejection = async (given: unknown) => {
    const error = await register(given as Partial<GatewayRegistration>).catch((cause: unknown) => cause);
    expect(error, JSON.stringify(given)).toBeInstanceOf(ConfigurationError);
    expect(await listed()).toEqual([]);
    return String(error);
  };

  test.each<[what: string, secret: unknown]>([
    ["too short", "a".repeat(31)],
    ["too long", "a".repeat(257)],
    ["with a comma, as of two headers", `${"a".repeat(32)},${"b".repeat(32)}`],
    ["with a space before it", ` ${"a".repeat(40)}`],
    ["with a line break after it", `${"a".repeat(40)}\n`],
    ["with a letter that is not ASCII", "ä".repeat(40)],
    ["empty", ""],
    ["undefined", undefined],
    ["a number", 1e40],
    ["an array of one", ["a".repeat(40)]],
  ])("rejects a secret that is %s, and does not repeat it", async (_, secret) => {
    const message = await rejection({ secret });
    expect(message).toMatch(/secret must be 32 to 256 letters, digits, _ or -/);
    if (typeof secret === "string" && secret !== "") expect(message).not.toContain(secret);
  });

  test.each(["a".repeat(32), "Z".repeat(256), `${"_-09azAZ".repeat(4)}`])(
    "accepts the secret %s",
    async (secret) => {
      expect(await register({ secret })).toMatchObject({ secretHashes: [hashSecret(secret)] });
    },
  );

  test("stores the SHA-256 of a secret", async () => {
    await register({ secret: "0".repeat(64) });
    const [row] = await at.two.db.selectFrom("sallyport_gateways").selectAll().execute();
    expect(row).toMatchObject({
      secret_hash: "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55",
      previous_secret_hash: null,
    });
  });

  test.each<[what: string, secretHashes: unknown]>([
    ["a secret", [gatewaySecret().slice(1)]],
    ["capital letters", ["A".repeat(64)]],
    ["a hash with a line break", [`${"a".repeat(64)}\n`]],
    ["a hash with something before it", [`x${"a".repeat(64)}`]],
    ["a letter that is not hexadecimal", ["g".repeat(64)]],
    ["a number", [7]],
    ["three hashes", ["a", "b", "c"].map((letter) => letter.repeat(64))],
    ["a hash instead of an array", "a".repeat(64)],
    ["undefined", undefined],
  ])("rejects %s as secretHashes", async (_, secretHashes) => {
    expect(await rejection({ secretHashes })).toMatch(/secretHashes/);
  });

  test("accepts up to two hashes in place of a secret, the newest first", async () => {
    const [a, b] = ["a".repeat(64), "b".repeat(64)] as const;
    await rejection({ secret: gatewaySecret(), secretHashes: [a] });
    expect(await register({ secretHashes: [b, a] })).toMatchObject({ secretHashes: [b, a] });
    expect(await register({ secretHashes: [a] })).toMatchObject({ secretHashes: [a] });
    await expect(register({ name: "another", secretHashes: [b, a] })).rejects.toThrow(ConfigurationError);
    expect(await register({ secretHashes: [] })).toMatchObject({ secretHashes: [] });
  });

  test("accepts only the new secret if there is no former one to keep", async () => {
    const secret = gatewaySecret();
    const expected = { secretHashes: [hashSecret(secret)] };
    expect(await register({ secret, keepPreviousSecret: true })).toMatchObject(expected);
    expect(await register({ secret, keepPreviousSecret: true })).toMatchObject(expected);
  });

  test.each([
    ["no URL", "abc.execute-api"],
    ["an empty text", ""],
    ["http on another host", "http://abc.execute-api.eu-west-1.amazonaws.com/prod"],
    ["http on a host that begins like this machine", "http://localhost.example.com/prod"],
    ["another scheme on this machine", "ws://localhost/prod"],
    ["another scheme", "wss://abc.execute-api.eu-west-1.amazonaws.com/prod"],
    ["a number", 7],
    ["undefined", undefined],
  ])("rejects %s as the endpoint", async (_, endpoint) => {
    await rejection({ endpoint });
  });

  test.each([
    ["https://x.example.com/prod//", "https://x.example.com/prod", "prod"],
    ["https://x.example.com", "https://x.example.com", ""],
    ["https://x.example.com/a/b", "https://x.example.com/a/b", "b"],
    ["http://localhost:3001/local", "http://localhost:3001/local", "local"],
    ["http://127.0.0.1:3001/local", "http://127.0.0.1:3001/local", "local"],
    ["http://[::1]:3001/local", "http://[::1]:3001/local", "local"],
  ])("stores the endpoint %s and its stage", async (given, endpoint, stage) => {
    expect(await register({ endpoint: given })).toMatchObject({ endpoint, stage });
  });

  test.each<Record<string, unknown>>([
    { name: "" },
    { name: "a".repeat(129) },
    { name: "main\n" },
    { name: "ä" },
    { name: undefined },
    { apiId: "" },
    { apiId: 7 },
    { stage: 7 },
    { replies: "both" },
    { keepPreviousSecret: "yes" },
    { secretHash: "a".repeat(64) },
  ])("rejects %j", async (given) => {
    await rejection(given);
  });

  test("accepts a name of 128 characters", async () => {
    const name = "aZ0 _-".padEnd(128, "x");
    expect(await register({ name })).toMatchObject({ name });
  });
});

describe("a change of gateways", () => {
  test("of secrets applies to one gateway only", async () => {
    const [first, second] = [gatewaySecret(), gatewaySecret()];
    await register({ secret: first });
    await register({ name: "other", secret: second });
    const hashes = [hashSecret(gatewaySecret()), hashSecret(first)];
    await gateways[0].accept("main", hashes);
    expect(await gateways[0].list()).toMatchObject([
      { name: "main", secretHashes: hashes },
      { name: "other", secretHashes: [hashSecret(second)] },
    ]);
    await gateways[0].accept("main", []);
    expect(await listed()).toMatchObject([{ secretHashes: [] }, { secretHashes: [hashSecret(second)] }]);
  });

  test("reports whether a gateway was removed", async () => {
    await register();
    await register({ name: "other" });
    expect(await gateways[0].remove("main")).toBe(true);
    expect(await gateways[0].remove("main")).toBe(false);
    expect(await gateways[0].list()).toMatchObject([{ name: "other" }]);
    expect(await gateways[1].named("main")).toBeUndefined();
    expect(await gateways[1].named("other")).toMatchObject({ name: "other" });
  });

  test("is not read by a lookup of a known gateway for five seconds", async () => {
    const now = Date.now();
    vi.useFakeTimers({ toFake: ["Date"], now });
    const { id } = await register();
    const { id: other } = await register({ name: "other" });
    await gateways[1].list();
    await at.one.db.deleteFrom("sallyport_gateways").where("id", "=", id).execute();
    vi.setSystemTime(now + 4999);
    expect(await gateways[1].find(id)).toMatchObject({ id });
    expect(sorted((await gateways[1].findMany([id, other])).keys())).toEqual(sorted([id, other]));
    expect([...(await gateways[1].findMany([])).keys()]).toHaveLength(2);
  });
});

describe("the gateway cache of another process", () => {
  test.each([
    ["is set back by an hour", -3_600_000],
    ["is set forward by an hour", 3_600_000],
  ])("does not keep an old secret for longer when the clock %s", async (_what, stepMs) => {
    const [old, current] = [gatewaySecret(), gatewaySecret()];
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const { secretHashes } = await register({ secret: old });
    expect(await gateways[1].list()).toMatchObject([{ secretHashes }]);
    vi.setSystemTime(Date.now() + stepMs);
    await register({ secret: current });
    vi.advanceTimersByTime(5000);
    const [known] = await gateways[1].list();
    expect(known?.secretHashes).toHaveLength(1);
    expect(known?.secretHashes).not.toEqual(secretHashes);
  });

  test("is read again after five seconds, also if the wall clock does not advance", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    await register({ name: "first" });
    await gateways[1].list();
    await register({ name: "second" });
    const now = Date.now();
    vi.advanceTimersByTime(5000);
    vi.setSystemTime(now);
    expect(await gateways[1].list()).toHaveLength(2);
  });

  test("is at most five seconds old, or one second for an unknown gateway", async () => {
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

  test("drops a removed gateway, although its id is still looked up", async () => {
    const { id } = await register();
    expect(await gateways[1].find(id)).toMatchObject({ id });
    await at.one.db.deleteFrom("sallyport_gateways").where("id", "=", id).execute();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 5000 });
    expect(await gateways[1].find(id)).toBeUndefined();
    expect([...(await gateways[1].findMany([id])).keys()]).toEqual([]);
  });
});

describe("a read that is in flight during a change", () => {
  /** Gateways with a first read that returns only after `release()`, with the rows of its start. */
  function withHeldRead() {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isRead = false;
    class HeldGateways extends SqlGateways {
      override async list(): Promise<readonly Gateway[]> {
        const gatewaysAtStart = await super.list();
        if (!isRead) {
          isRead = true;
          await held;
        }
        return gatewaysAtStart;
      }
    }
    const store: Store = Object.assign(Object.create(at.two.store), {
      gateways: new HeldGateways(at.two),
    });
    const storage = changedStorage(at.two, { store });
    const isHeld = () => expect.poll(() => isRead).toBe(true);
    return { slow: new Gateways(storage.store), release, isHeld };
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

  test("fails the registration of a gateway that was removed at the same time", async () => {
    const storage = changedStorage(at.two, {
      transaction: async (work) => {
        const result = await at.two.transaction(work);
        await at.one.db.deleteFrom("sallyport_gateways").execute();
        return result;
      },
    });
    const registered = new Gateways(storage.store).register({ name: "main", endpoint: ENDPOINT });
    await expect(registered).rejects.toThrow(
      /^Gateway "main" was removed while it was registered\. Register it again if it is needed\.$/,
    );
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
