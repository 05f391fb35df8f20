import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { frameOf } from "../../test/local/rig.ts";
import { FrameMeter } from "./frame-meter.ts";

const LIMIT = 300;

interface Frame {
  readonly opcode: number;
  readonly fin: boolean;
  readonly size: number;
}

/** A valid stream of messages, each in one or more frames, with pings between them. */
const messages = fc.array(
  fc.array(
    fc.record({
      size: fc.oneof(
        fc.integer({ min: 0, max: LIMIT + 3 }),
        fc.constantFrom(125, 126, 127, LIMIT, LIMIT + 1, 70_000),
      ),
      ping: fc.option(fc.integer({ min: 0, max: 125 })),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  { maxLength: 6 },
);

function framesOf(parts: readonly (readonly { size: number; ping: number | null }[])[]): Frame[] {
  return parts.flatMap((message) =>
    message.flatMap(({ size, ping }, index) => [
      { opcode: index === 0 ? 1 : 0, fin: index === message.length - 1, size },
      ...(ping === null ? [] : [{ opcode: 9, fin: true, size: ping }]),
    ]),
  );
}

describe("the frame meter", () => {
  test("finds the first oversized data frame, however the bytes are split", () => {
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }), (parts, cuts) => {
        const bytes = Buffer.concat(
          framesOf(parts).map(({ size, ...frame }) => frameOf(Buffer.alloc(size), frame)),
        );
        const meter = new FrameMeter(LIMIT);
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const end = at + (cuts[turn % cuts.length] ?? 1);
          meter.read(bytes.subarray(at, end));
          at = end;
        }
        const expected = parts.findIndex((message) => message.some(({ size }) => size > LIMIT));
        expect(meter.oversizedIn).toBe(expected < 0 ? undefined : expected);
      }),
      { numRuns: 500 },
    );
  });

  test("finds an oversized frame byte by byte, before its payload", () => {
    const bytes = Buffer.concat([frameOf("a"), frameOf("", { opcode: 9 }), frameOf(Buffer.alloc(LIMIT + 1))]);
    const meter = new FrameMeter(LIMIT);
    const payload = LIMIT + 1;
    for (const byte of bytes.subarray(0, bytes.length - payload)) {
      expect(meter.oversizedIn).toBeUndefined();
      meter.read(Buffer.from([byte]));
    }
    expect(meter.oversizedIn).toBe(1);
  });

  test("finds a length of 2^63 - 1 without reading the payload", () => {
    const meter = new FrameMeter(LIMIT);
    meter.read(Buffer.from("81ff7fffffffffffffff00000000", "hex"));
    expect(meter.oversizedIn).toBe(0);
  });

  test("distinguishes data frames from control frames", () => {
    const meter = new FrameMeter(LIMIT);
    expect(meter.read(frameOf("ping", { opcode: 9 }))).toBe(false);
    expect(meter.read(frameOf("", { opcode: 10 }))).toBe(false);
    expect(meter.read(frameOf("", { opcode: 1, fin: false }))).toBe(true);
    expect(meter.read(frameOf("x", { opcode: 9 }))).toBe(false);
    const frame = frameOf("hello", { opcode: 0 });
    expect(meter.read(frame.subarray(0, 8))).toBe(true);
    expect(meter.read(frame.subarray(8))).toBe(true);
  });
});
