import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { ForbiddenError, RequestError } from "../../src/errors.ts";
import { definePermissions } from "../../src/permissions/define.ts";
import { defineChannel } from "../../src/views/channel.ts";
import type { MessageContext } from "../../src/views/context.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { type Frame, World } from "./world.ts";

const chat = definePermissions("chat", { moderate: "Moderate", talk: "Talk" });
const Room = z.object({ room: z.string() });
type Context = MessageContext<{ room: string }>;

/** The code that the handler `act` runs in the current test. */
let act: (context: Context) => unknown = () => undefined;
let whileRunning: () => Promise<void> = async () => undefined;

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.talk];
  act = handler({ body: Room }, async (context) => {
    await act(context);
    return "handled";
  });
  fail = handler({ permissionsRequired: [chat.moderate] }, async () => {
    await whileRunning();
    throw new Error("the database of the app is away");
  });
  deny = handler({ permissionsRequired: [chat.moderate] }, async () => {
    await whileRunning();
    throw new ForbiddenError("the author says no", { reason: "app" });
  });
}

let world: World;
/** Unhandled rejections. Node.js ends a process at the first one. */
const unhandled: unknown[] = [];
const note = (error: unknown) => unhandled.push(error);

beforeEach(async () => {
  process.on("unhandledRejection", note);
  world = await World.open({
    permissions: [chat],
    channels: [defineChannel("secret/:room", { permissionsRequired: [chat.moderate] })],
    views: { "/ws/chat": ChatView },
    // A revoke applies immediately in its own process, and within one second in others.
    instances: 1,
  });
  await world.sallyport.access.grant("ann", chat.talk);
});

afterEach(async () => {
  process.off("unhandledRejection", note);
  await world.close();
  expect(unhandled.splice(0)).toEqual([]);
});

const operations: Record<string, (context: Context) => Promise<unknown>> = {
  "to().send()": ({ to, body }) => to({ channel: body.room }).send({}),
  "to().close()": ({ to, body }) => to({ channel: body.room }).close(),
  "to().preview()": ({ to, body }) => to({ channel: body.room }).preview(),
  "join()": ({ join, body }) => join(body.room),
  "move()": ({ move, body }) => move(body.room),
  "requireChannel()": ({ requireChannel, body }) => requireChannel(body.room),
};

describe.each(Object.entries(operations))("a handler that calls %s", (_name, operation) => {
  test("without await answers the client, and the denial is reported once as a decision", async () => {
    const ann = await world.connect("ann");
    act = (context) => void operation(context);
    expect(await ann.result("act", { room: "secret/x" })).toBe("handled");
    await expect.poll(() => world.decisions.length).toBe(1);
    expect(world.decisions[0]).toMatchObject({
      event: "message",
      userId: "ann",
      handler: "act",
      reason: "permission",
      missing: ["chat.moderate"],
    });
    expect(world.errors).toEqual([]);
  });

  test("without await answers the client, and any other failure is reported once", async () => {
    const ann = await world.connect("ann");
    act = (context) => void operation(context);
    expect(await ann.result("act", { room: "no-such-channel" })).toBe("handled");
    await expect.poll(() => world.decisions.length + world.errors.length).toBe(1);
  });

  test("with a rejection that is handled later reports nothing", async () => {
    const ann = await world.connect("ann");
    act = async (context) => {
      const pending = operation(context);
      await new Promise((resolve) => setImmediate(resolve));
      await pending.catch(() => undefined);
      await operation(context).then(
        () => expect.unreachable(),
        () => undefined,
      );
      await expect(operation(context)).rejects.toBeInstanceOf(RequestError);
    };
    expect(await ann.result("act", { room: "secret/x" })).toBe("handled");
    await world.sallyport.flush();
    expect([world.decisions, world.errors]).toEqual([[], []]);
  });

  test("with await is denied, with one decision", async () => {
    const ann = await world.connect("ann");
    act = operation;
    expect(await ann.call("act", { room: "secret/x" })).toMatchObject({ ok: false, status: 403 });
    await world.sallyport.flush();
    expect(world.decisions).toHaveLength(1);
  });
});

describe("a handler that calls leave() without await", () => {
  beforeEach(async () => {
    await world.sallyport.access.grant("ann", chat.moderate);
  });

  test("answers the client, and the connection leaves the channel", async () => {
    const ann = await world.connect("ann", { channel: "secret/x" });
    act = ({ leave }) => void leave();
    expect(await ann.result("act", { room: "secret/x" })).toBe("handled");
    await expect.poll(() => world.sql("select channel from sallyport_memberships")).toEqual([]);
    expect([world.decisions, world.errors]).toEqual([[], []]);
  });

  test("answers the client, and a failure is reported once", async () => {
    const ann = await world.connect("ann", { channel: "secret/x" });
    act = async ({ leave }) => {
      await world.sql("alter table sallyport_memberships rename to away");
      void leave();
    };
    expect(await ann.result("act", { room: "secret/x" })).toBe("handled");
    await expect.poll(() => world.errors.length).toBe(1);
    await world.sql("alter table away rename to sallyport_memberships");
    await world.sallyport.flush();
    expect(world.errors.splice(0)).toHaveLength(1);
    expect(world.decisions).toEqual([]);
  });
});

test("reports a denial once for an unawaited promise chain, and once for Promise.all", async () => {
  const ann = await world.connect("ann");
  act = ({ to, body }) => {
    void to({ channel: body.room })
      .send({})
      .then(() => "sent")
      .finally(() => undefined);
  };
  await ann.result("act", { room: "secret/x" });
  await expect.poll(() => world.decisions.length).toBe(1);
  act = ({ to, body, join }) => Promise.all([to({ channel: body.room }).send({}), join(body.room)]);
  expect(await ann.call("act", { room: "secret/x" })).toMatchObject({ ok: false, status: 403 });
  await world.sallyport.flush();
  expect(world.decisions).toHaveLength(2);
});

test("reports an unawaited send of the server to onError", async () => {
  const cyclic: Frame = {};
  cyclic.self = cyclic;
  void world.sallyport.to({ user: "ann" }).send(cyclic);
  await expect.poll(() => world.errors.map(String)).toEqual([expect.stringContaining("DeliveryError")]);
  await expect(world.sallyport.to({ user: "ann" }).send(cyclic)).rejects.toThrow();
  await world.sallyport.flush();
  expect(world.errors.splice(0)).toHaveLength(1);
});

describe("a handler that throws after its permission was revoked", () => {
  const revokedInHandler = async (name: string): Promise<Frame> => {
    await world.sallyport.access.grant("ann", chat.moderate);
    const ann = await world.connect("ann");
    whileRunning = async () => {
      await world.sallyport.access.revoke("ann", chat.moderate);
    };
    return ann.call(name);
  };

  test("is denied, and its own error is reported", async () => {
    expect(await revokedInHandler("fail")).toMatchObject({ ok: false, status: 403 });
    expect(world.decisions).toMatchObject([{ reason: "permission", handler: "fail" }]);
    expect(world.errors.splice(0).map(String)).toEqual(["Error: the database of the app is away"]);
  });

  test("is denied by the rule, and its own denial is not reported as an error", async () => {
    expect(await revokedInHandler("deny")).toMatchObject({ ok: false, status: 403 });
    expect(world.decisions).toMatchObject([{ reason: "permission", handler: "deny" }]);
    expect(world.errors).toEqual([]);
  });
});
