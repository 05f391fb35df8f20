import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { createSallyport } from "../../src/sallyport.ts";
import { handler } from "../../src/view/handlers.ts";
import { WebSocketView } from "../../src/view/view.ts";
import { emptyDatabase, storageAt } from "../postgres/database.ts";
import { chat } from "./chat.ts";
import { ORIGIN, World } from "./world.ts";

class ChatView extends WebSocketView {
  static override signedIn = true;
  fail = handler({ body: z.object({ text: z.string() }) }, ({ body }) => {
    throw new Error(`cannot read ${body.text}`);
  });
}

interface Call {
  readonly error: unknown;
  readonly repeats: number;
}

/** Every error that the calls stand for. */
const total = (calls: readonly Call[]) => calls.reduce((sum, { repeats }) => sum + Math.max(1, repeats), 0);

let world: World | undefined;
afterEach(async () => {
  vi.restoreAllMocks();
  await world?.close();
  world = undefined;
});

describe("a client that makes a handler fail again and again", () => {
  test.each([
    ["with the same text", () => "the row"],
    [
      "with another text each time",
      (n: number) => [...String(n)].map((digit) => "abcdefghij"[+digit]).join(""),
    ],
  ])("%s causes few calls of onError, which stand for every error", async (_name, text) => {
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
    await world.sallyport.settle();
    expect(total(calls)).toBe(400);
    expect(calls.length).toBeLessThan(100);
  });
});

test("a server whose tables are missing prints one line with the command to run", async () => {
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
    await sallyport.settle();
    expect(printed).toHaveLength(2);
    expect(printed[1]).toMatch(/^sallyport: [^\n]*\(\d+ more like this\)$/);
  } finally {
    await sallyport.close();
    await database.drop();
  }
});
