import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { StorageError } from "../../src/errors.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { emptyDatabase, storageAt } from "../postgres/database.ts";
import { chat } from "./chat.ts";
import { ORIGIN, World } from "./world.ts";

class ChatView extends WebSocketView {
  static override signedIn = true;
  odd = handler({ body: z.object({ message: z.unknown() }) }, ({ body }) => {
    throw Object.assign(new Error("x"), body);
  });
  pay = handler(() => {
    throw new Error("payment failed");
  });
  fail = handler({ body: z.object({ text: z.string() }) }, ({ body }) => {
    throw new Error(`cannot read ${body.text}`);
  });
}

interface Call {
  readonly error: unknown;
  readonly repeats: number;
}

/** Returns the number of errors that the calls of `onError` represent. */
const total = (calls: readonly Call[]) => calls.reduce((sum, { repeats }) => sum + Math.max(1, repeats), 0);

let world: World | undefined;
afterEach(async () => {
  vi.restoreAllMocks();
  await world?.close();
  world = undefined;
});

describe("a client that makes a handler fail repeatedly", () => {
  test.each([
    ["with the same text", () => "the row"],
    [
      "with another text each time",
      (n: number) => [...String(n)].map((digit) => "abcdefghij"[+digit]).join(""),
    ],
  ])("B61 %s causes fewer than 100 calls of onError, which count all 400 errors", async (_name, text) => {
    const calls: Call[] = [];
    world = await World.open({
      permissions: [chat],
      views: { "/ws/chat": ChatView },
      instances: 1,
      onError: (error, _where, repeats) => calls.push({ error, repeats }),
    });
    const ann = await world.connect("ann");
    for (let n = 0; n < 400; n++) {
      expect(await ann.call("fail", { text: text(n) })).toMatchObject({ ok: false, status: 500 });
    }
    await world.sallyport.flush();
    expect(total(calls)).toBe(400);
    expect(calls.length).toBeLessThan(100);
  });
});

test("an error with fields that the client chose is answered and passed to onError", async () => {
  const calls: Call[] = [];
  const onError = (error: unknown, _where: string, repeats: number) => calls.push({ error, repeats });
  world = await World.open({ permissions: [chat], views: { "/ws/chat": ChatView }, instances: 1, onError });
  const ann = await world.connect("ann");
  for (const message of [5, { length: 2 }, null, ["a"]]) {
    expect(await ann.call("odd", { message })).toMatchObject({ ok: false, status: 500 });
  }
  await world.sallyport.flush();
  expect(total(calls)).toBe(4);
});

test("a client that varies its errors does not hide the errors of another handler", async () => {
  const calls: Call[] = [];
  const onError = (error: unknown, _where: string, repeats: number) => calls.push({ error, repeats });
  world = await World.open({ permissions: [chat], views: { "/ws/chat": ChatView }, instances: 1, onError });
  const ann = await world.connect("ann");
  for (const text of "abcdefghijklmnopqrstuvwxyz") await ann.call("fail", { text });
  await ann.call("pay");
  expect(calls.map(({ error }) => String(error))).toContain("Error: payment failed");
});

test("a server with tables of an older version reports the migrate command", async () => {
  const errors: string[] = [];
  const onError = (error: unknown) => errors.push(String(error));
  world = await World.open({ permissions: [chat], views: { "/ws/chat": ChatView }, instances: 1, onError });
  await world.sql("alter table sallyport_tokens drop column view");
  expect((await world.requestToken("ann")).status).toBe(503);
  expect(errors[0]).toMatch(/^StorageError: .*Run: npx sallyport migrate$/);
});

test("a missing column in a statement of the app is not a StorageError", async () => {
  world = await World.open({ permissions: [chat], views: { "/ws/chat": ChatView }, instances: 1 });
  const storage = storageAt(world.database);
  try {
    const query = storage.db.selectFrom("sallyport_tokens").select("nothing" as never);
    const failure: unknown = await query.execute().catch((error: unknown) => storage.failure(error));
    expect(String(failure)).toMatch(/column/);
    expect(failure).not.toBeInstanceOf(StorageError);
  } finally {
    await storage.close();
  }
});

test("a server without tables prints the migrate command once, and then a count", async () => {
  const database = await emptyDatabase();
  const sallyport = createSallyport({
    storage: storageAt(database.source),
    permissions: [chat],
    views: { "/ws/chat": ChatView },
    origins: [ORIGIN],
    authenticate: () => ({ userId: "ann" }),
  });
  const printed: string[] = [];
  vi.spyOn(console, "error").mockImplementation((...args) => printed.push(args.join(" ")));
  try {
    for (let n = 0; n < 20; n++) {
      const request = new Request("http://localhost/api/ws-token", {
        method: "POST",
        headers: { origin: ORIGIN },
      });
      expect((await sallyport.fetch(request))?.status).toBe(503);
      await expect(sallyport.enforce()).rejects.toThrow();
    }
    expect(printed).toHaveLength(1);
    expect(printed[0]).toMatch(/^sallyport: [^\n]*Run: npx sallyport migrate$/);
    await sallyport.flush();
    expect(printed).toHaveLength(2);
    expect(printed[1]).toMatch(/^sallyport: [^\n]*\(\d+ more like this\)$/);
  } finally {
    await sallyport.close();
    await database.drop();
  }
});
