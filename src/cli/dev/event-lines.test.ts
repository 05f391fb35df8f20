import { describe, expect, test } from "vitest";
import type { HandledEvent } from "../../local/emulator.ts";
import { devEvent } from "./event-lines.ts";

const handled: HandledEvent = {
  kind: "message",
  routeKey: "$default",
  apiId: "a1",
  stage: "dev",
  connectionId: "c1",
  outcome: "answered",
  status: 200,
  tookMs: 12.4,
  query: "",
  body: '{"id":1,"handler":"say"}',
  response: '{"id":1,"ok":true,"status":200}',
};
const of = (changes: Partial<HandledEvent>) => devEvent({ ...handled, ...changes }, "/ws/chat");

describe("what is printed of an event", () => {
  test("has the handler of a message, and whole milliseconds", () => {
    const expected = { view: "/ws/chat", connectionId: "c1", status: 200, action: "say", tookMs: 12 };
    expect(of({})).toEqual({ ...expected, reference: undefined });
  });

  test.each([
    [{ response: '{"ok":false,"status":403,"error":"x","reference":"r"}' }, 403],
    [{ response: '{"ok":false,"error":"Internal error.","reference":"r"}' }, 500],
    [{ response: '{"ok":false,"error":"Bad request.","reference":"r"}' }, 400],
    [{ kind: "connect", status: 429, response: '{"error":"x","reference":"r"}' }, 429],
  ] as const)("has the status for the client: %j", (changes, status) => {
    expect(of(changes)).toMatchObject({ status, reference: "r" });
  });

  test("is the status of a backend that is not Sallyport, whatever its body is", () => {
    for (const response of ['{"ok":false,"status":403}', "[]", "null", "no JSON"])
      expect(of({ response })).toMatchObject({ status: 200, reference: undefined });
  });

  test("is nothing without an answer", () => {
    expect(of({ outcome: "unreachable", status: undefined })).toBeUndefined();
  });

  test("quotes and shortens names of the client that could be read as another part of the line", () => {
    const body = (handler: unknown) => of({ body: JSON.stringify({ handler }) })?.action;
    expect([body("a b"), body('x"'), body("(why: x)"), body(7)]).toEqual([
      '"a b"',
      '"x\\""',
      '"(why: x)"',
      "message",
    ]);
    expect(body("x".repeat(1000))).toHaveLength(101);
    const connect = (channel: string) =>
      of({ kind: "connect", query: new URLSearchParams({ channel }).toString() });
    expect(connect("rooms/a")?.action).toBe("connected to rooms/a");
    expect(connect("a\n403 eve")?.action).toBe('connected to "a\\n403 eve"');
  });
});
