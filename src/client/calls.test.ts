import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CallError, type CallOptions, Calls, encodeMessage, type OutgoingMessage } from "./calls.ts";

const KB = 1024;
const message = (fields: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
  ...{ handlerKey: "handler", handler: "echo", action: undefined, input: undefined },
  ...fields,
});

let calls: Calls;
/** The messages that were sent, oldest first. */
let sent: { readonly id: string; readonly handler: string }[];
beforeEach(() => {
  vi.useFakeTimers();
  calls = new Calls();
  sent = [];
});
afterEach(() => vi.useRealTimers());

/** Sends waiting calls, up to a number of messages. */
const transmit = (most = Number.POSITIVE_INFINITY) => {
  let left = most;
  calls.transmit((text) => {
    if (left-- <= 0) return false;
    sent.push(JSON.parse(text));
    return true;
  });
};

/** Adds a call. `outcome` is undefined while the call waits. */
function add(handler = "echo", options: CallOptions = {}) {
  const call: { outcome: unknown; error: unknown } = { outcome: undefined, error: undefined };
  calls.add(message({ handler }), options).then(
    (result) => {
      call.outcome = result;
    },
    (error: unknown) => {
      call.error = error;
    },
  );
  return call;
}
const settle = () => vi.advanceTimersByTimeAsync(0);

describe("an answer", () => {
  test("settles only the call that was sent with its id", async () => {
    const [first, second] = [add("first"), add("second")];
    transmit();
    calls.answer({ id: sent[1]?.id, ok: true, result: 2 });
    await settle();
    expect([first, second]).toEqual([
      { outcome: undefined, error: undefined },
      { outcome: 2, error: undefined },
    ]);
    calls.answer({ id: sent[1]?.id, ok: false, error: "too late" });
    calls.answer({ id: sent[0]?.id, ok: false, status: 404, error: "No.", reference: "r" });
    calls.answer({ id: sent[0]?.id, ok: true, result: 1 });
    await settle();
    expect(second).toEqual({ outcome: 2, error: undefined });
    expect(first.outcome).toBeUndefined();
    expect(first.error).toBeInstanceOf(CallError);
    expect(first.error).toMatchObject({ message: "No.", status: 404, reference: "r", sent: true });
  });

  test("is ignored while its call has not been sent", async () => {
    const call = add();
    let id: unknown;
    calls.transmit((text) => {
      id = (JSON.parse(text) as { id: unknown }).id;
      return false;
    });
    calls.answer({ id, ok: true, result: "forged" });
    calls.answer({ id, ok: false, error: "forged" });
    transmit();
    calls.answer({ id, ok: true, result: "own" });
    await settle();
    expect(call).toEqual({ outcome: "own", error: undefined });
  });

  test.each([
    [
      {},
      {
        message: "The server rejected the call and gave no reason. Check its log.",
        status: 500,
        reference: "",
      },
    ],
    [
      { error: "No.", status: "403", reference: 7 },
      { message: "No.", status: 500, reference: "" },
    ],
    [
      { error: null, status: 0, reference: "r" },
      { status: 0, reference: "r" },
    ],
  ])("that is a failure with the fields %j rejects the call", async (fields, expected) => {
    const call = add();
    transmit();
    calls.answer({ id: sent[0]?.id, ok: false, ...fields });
    await settle();
    expect(call.error).toBeInstanceOf(CallError);
    expect(call.error).toMatchObject(expected);
  });
});

describe("calls that wait", () => {
  test("are sent in order and once, as long as the connection accepts them", async () => {
    for (const handler of ["a", "b", "c"]) add(handler);
    transmit(2);
    expect(sent.map(({ handler }) => handler)).toEqual(["a", "b"]);
    transmit(0);
    transmit();
    transmit();
    expect(sent.map(({ handler }) => handler)).toEqual(["a", "b", "c"]);
    expect(new Set(sent.map(({ id }) => id)).size).toBe(3);
  });

  test("are not sent before an earlier call that the connection does not accept", () => {
    add("a");
    add("b");
    const answers = [false, true, true];
    calls.transmit(() => answers.shift() ?? true);
    expect(answers).toEqual([true, true]);
    transmit();
    expect(sent.map(({ handler }) => handler)).toEqual(["a", "b"]);
  });

  test("are rejected on connection loss if they were sent, and later calls get a new prefix", async () => {
    const [lost, kept] = [add("lost"), add("kept")];
    transmit(1);
    calls.connectionLost();
    await settle();
    expect(lost.error).toBeInstanceOf(CallError);
    expect(lost.error).toMatchObject({ status: 0, sent: true });
    expect(kept).toEqual({ outcome: undefined, error: undefined });
    const later = add("later");
    transmit();
    expect(sent.map(({ handler }) => handler)).toEqual(["lost", "kept", "later"]);
    const prefixes = sent.map(({ id }) => id.split("-")[0]);
    expect(prefixes[1]).toBe(prefixes[0]);
    expect(prefixes[2]).not.toBe(prefixes[0]);
    calls.answer({ id: sent[2]?.id, ok: true, result: 1 });
    await settle();
    expect(later.outcome).toBe(1);
  });

  test("are rejected with a denial only if they were not sent", async () => {
    const [first, second] = [add(), add()];
    transmit(1);
    const denial = new CallError("No.", { status: 403 });
    calls.rejectUnsent(denial);
    await settle();
    expect(first).toEqual({ outcome: undefined, error: undefined });
    expect(second.error).toBe(denial);
    calls.answer({ id: sent[0]?.id, ok: true, result: 1 });
    await settle();
    expect(first.outcome).toBe(1);
  });

  test.each([true, false])("expire after their time-out with sent: %s", async (isSent) => {
    const call = add("echo", { timeoutMs: 30 });
    if (isSent) transmit();
    await vi.advanceTimersByTimeAsync(29);
    expect(call.error).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect(call.error).toBeInstanceOf(CallError);
    expect(call.error).toMatchObject({ status: 0, sent: isSent, message: expect.stringContaining("30 ms") });
    transmit();
    expect(sent).toHaveLength(isSent ? 1 : 0);
  });

  test("have no timer without a time-out, and at most the longest timer delay", async () => {
    add("a", {});
    add("b", { timeoutMs: Number.POSITIVE_INFINITY });
    expect(vi.getTimerCount()).toBe(0);
    const set = vi.spyOn(globalThis, "setTimeout");
    add("c", { timeoutMs: 2 ** 40 });
    add("d", { timeoutMs: 7 });
    expect(set.mock.calls.map(([, ms]) => ms)).toEqual([2 ** 31 - 1, 7]);
  });

  test("leave no timer and no listener when they are settled", async () => {
    const controller = new AbortController();
    const listeners = () => getEventListeners(controller.signal, "abort").length;
    const options = { signal: controller.signal, timeoutMs: 1000 };
    add("answered", options);
    add("failed", options);
    add("denied", options);
    expect([listeners(), vi.getTimerCount()]).toEqual([3, 3]);
    transmit(2);
    calls.answer({ id: sent[0]?.id, ok: true });
    calls.answer({ id: sent[1]?.id, ok: false });
    calls.rejectUnsent(new CallError("No."));
    expect([listeners(), vi.getTimerCount()]).toEqual([0, 0]);
  });

  test("are sent in order while fewer than 32 are in flight", async () => {
    calls = new Calls(() => transmit());
    const controller = new AbortController();
    add("0", { timeoutMs: 50 });
    add("1", { signal: controller.signal });
    for (let call = 2; call < 40; call++) add(String(call));
    const waiting = new AbortController();
    add("left", { signal: waiting.signal });
    add("last");
    transmit();
    const handlers = () => sent.map(({ handler }) => Number(handler));
    const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);
    expect(handlers()).toEqual(upTo(32));
    calls.answer({ id: sent[9]?.id, ok: true });
    expect(handlers()).toEqual(upTo(33));
    calls.answer({ id: sent[9]?.id, ok: true });
    expect(handlers()).toEqual(upTo(33));
    calls.answer({ id: sent[8]?.id, ok: false });
    controller.abort();
    await vi.advanceTimersByTimeAsync(50);
    expect(handlers()).toEqual(upTo(36));
    waiting.abort();
    expect(handlers()).toEqual(upTo(36));
    calls = new Calls();
  });

  test("are all sent on the next connection, in order, after 32 in flight were lost", async () => {
    for (let call = 0; call < 70; call++) add(String(call));
    transmit();
    expect(sent).toHaveLength(32);
    calls.connectionLost();
    transmit();
    expect(sent.map(({ handler }) => Number(handler))).toEqual(Array.from({ length: 64 }, (_, i) => i));
  });

  test("are aborted by their signal and are not sent afterwards", async () => {
    const controller = new AbortController();
    const [unsent, isSent] = [add("unsent", { signal: controller.signal }), add("sent")];
    const reason = new Error("the user left");
    controller.abort(reason);
    transmit();
    await settle();
    expect(unsent.error).toBe(reason);
    expect(sent.map(({ handler }) => handler)).toEqual(["sent"]);
    expect(isSent.error).toBeUndefined();
    const late = add("late", { signal: controller.signal });
    await settle();
    expect(late.error).toBe(reason);
    transmit();
    expect(sent).toHaveLength(1);
  });
});

describe("a message", () => {
  const textOf = (fields: Partial<OutgoingMessage>, id?: string) =>
    JSON.parse(encodeMessage(message(fields), id)) as unknown;

  test("has an id only for a call, and an action only if the socket has one", () => {
    expect(textOf({})).toEqual({ handler: "echo" });
    expect(textOf({ input: { a: 1 } }, "7")).toEqual({ id: "7", handler: "echo", a: 1 });
    expect(textOf({ handlerKey: "do", action: "x", input: { handler: 1 } })).toEqual({
      ...{ do: "echo", action: "x", handler: 1 },
    });
    expect(textOf({ input: { action: "mine" } })).toEqual({ handler: "echo", action: "mine" });
  });

  test.each<[string, OutgoingMessage]>([
    ["id", message({ input: { id: undefined } })],
    ["handler", message({ input: { handler: "other" } })],
    ["do", message({ handlerKey: "do", input: { do: "other" } })],
    ["action", message({ action: "chat", input: { action: "admin" } })],
    ["toJSON", message({ input: { toJSON: () => ({ handler: "other" }) } })],
    [
      "toJSON",
      message({
        input: new (class {
          toJSON() {
            return {};
          }
        })(),
      }),
    ],
  ])("rejects an input with the field %s", (field, given) => {
    expect(() => encodeMessage(given)).toThrow(TypeError);
    expect(() => encodeMessage(given)).toThrow(`"${field}"`);
  });

  test("has at most 32 KB in UTF-8", () => {
    const around = encodeMessage(message({ input: { t: "" } }), "1").length;
    const most = "é".repeat(100) + "x".repeat(32 * KB - around - 200);
    expect(Buffer.byteLength(encodeMessage(message({ input: { t: most } }), "1"))).toBe(32 * KB);
    const encode = () => encodeMessage(message({ input: { t: `${most}x` } }), "1");
    expect(encode).toThrow(CallError);
    expect(encode).toThrow(expect.objectContaining({ status: 413, sent: false }));
  });
});
