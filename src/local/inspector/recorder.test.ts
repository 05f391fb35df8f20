import { describe, expect, test } from "vitest";
import { eventOf } from "../../../test/local/events.ts";
import { cutText, MAX_BODY_BYTES } from "./recorded-event.ts";
import { MAX_EVENTS, MAX_RECORDED_BYTES, Recorder } from "./recorder.ts";

const NO_FAULT = { delayMs: 0, isDropped: false, isDoubled: false, isJoined: false };
const answered = (body: string) =>
  ({ kind: "answered", status: 200, body: Buffer.from(body), subprotocol: undefined }) as const;

/** Records a message with its request and its answer. */
function record(recorder: Recorder, body: string, answer = ""): void {
  const event = recorder.begin(eventOf("message", { body }));
  const url = new URL("http://backend.test/ws/default");
  event.sent({ kind: "http", method: "POST", url, headers: ["X-A", "1"], body: Buffer.from(body) });
  event.received({ kind: "http", headers: { "set-cookie": ["a=1", "b=2"], "x-b": "2" } });
  event.finish(answered(answer), 12.5);
}

describe("the recorder", () => {
  test("keeps the request and the response of an event", () => {
    const recorder = new Recorder();
    record(recorder, '{"a":1}', "ok");
    const [summary] = recorder.summaries;
    expect(summary).toMatchObject({
      id: 1,
      kind: "message",
      routeKey: "$default",
      outcome: "answered",
      status: 200,
      tookMs: 12.5,
      preview: '{"a":1}',
      answerPreview: "ok",
    });
    expect(recorder.findDetails(1)).toMatchObject({
      request: {
        kind: "http",
        method: "POST",
        url: "http://backend.test/ws/default",
        headers: [["X-A", "1"]],
        body: { text: '{"a":1}', bytes: 7, isCut: false },
      },
      response: {
        status: 200,
        headers: [
          ["set-cookie", "a=1"],
          ["set-cookie", "b=2"],
          ["x-b", "2"],
        ],
        body: { text: "ok" },
      },
    });
  });

  test("shows an event as pending until it is finished", () => {
    const recorder = new Recorder();
    const event = recorder.begin(eventOf("disconnect"));
    expect(recorder.summaries[0]).toMatchObject({ outcome: "pending", preview: "1001" });
    event.planned({ ...NO_FAULT, delayMs: 50 });
    expect(recorder.summaries[0]).toMatchObject({ outcome: "pending", faults: { delayMs: 50 } });
    event.finish({ kind: "timed out" }, 50);
    expect(recorder.summaries[0]).toMatchObject({ outcome: "timed out", tookMs: 50 });
    expect(recorder.findDetails(1)?.response).toBeUndefined();
  });

  test("keeps the event and the result of a function, and the error of a call", () => {
    const recorder = new Recorder();
    const event = recorder.begin(eventOf("connect"));
    event.sent({ kind: "function", event: { requestContext: { routeKey: "$connect" } } });
    event.received({ kind: "function", result: null });
    event.finish({ kind: "failed", error: new Error("broken") }, 1);
    expect(recorder.findDetails(1)).toMatchObject({
      request: { kind: "function", event: { text: '{"requestContext":{"routeKey":"$connect"}}' } },
      response: { result: { text: "null" } },
      error: "broken",
    });
  });

  test("removes the oldest event when there are too many", () => {
    const recorder = new Recorder();
    for (let count = 0; count < MAX_EVENTS + 10; count++) record(recorder, "{}");
    expect(recorder.summaries).toHaveLength(MAX_EVENTS);
    expect(recorder.oldestId).toBe(11);
    expect(recorder.findDetails(10)).toBeUndefined();
  });

  test("removes the oldest events when all are too large together", () => {
    const recorder = new Recorder();
    const body = "x".repeat(128 * 1024);
    for (let count = 0; count < 300; count++) {
      record(recorder, body, body);
      expect(recorder.totalBytes).toBeLessThanOrEqual(MAX_RECORDED_BYTES);
    }
    expect(recorder.summaries.length).toBeGreaterThan(50);
    expect(recorder.summaries.length).toBeLessThan(300);
    expect(recorder.summaries.at(-1)?.id).toBe(300);
    recorder.clear();
    expect([recorder.totalBytes, recorder.summaries]).toEqual([0, []]);
  });

  test("does not grow by an event that finishes after it was removed", () => {
    const recorder = new Recorder();
    const event = recorder.begin(eventOf("message"));
    const changed: number[] = [];
    recorder.clear();
    recorder.onChange = (id) => changed.push(id);
    event.finish(answered("late"), 1);
    expect([recorder.totalBytes, recorder.summaries, changed]).toEqual([0, [], []]);
  });
});

describe("a recorded text", () => {
  test("is cut at its maximum size, and is marked as cut", () => {
    const cut = cutText(Buffer.alloc(MAX_BODY_BYTES + 1, "a"));
    expect(cut).toMatchObject({ bytes: MAX_BODY_BYTES + 1, isCut: true });
    expect(cut.text).toHaveLength(MAX_BODY_BYTES);
    expect(cutText(Buffer.alloc(MAX_BODY_BYTES, "a")).isCut).toBe(false);
    expect(cutText("é".repeat(MAX_BODY_BYTES))).toMatchObject({ bytes: 2 * MAX_BODY_BYTES, isCut: true });
  });

  test("is not cut within a character", () => {
    const { text } = cutText(Buffer.from(`a${"é".repeat(MAX_BODY_BYTES)}`));
    expect(text).toBe(`a${"é".repeat(MAX_BODY_BYTES / 2 - 1)}`);
  });
});
