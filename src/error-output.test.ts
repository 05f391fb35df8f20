import { describe, expect, onTestFinished, test, vi } from "vitest";
import { describeError, printError } from "./error-output.ts";
import { StorageError } from "./errors.ts";

test("printError() writes one text to stderr, without invisible characters", () => {
  const write = vi.spyOn(console, "error").mockImplementation(() => undefined);
  onTestFinished(() => write.mockRestore());
  const cause = new Error('invalid input: "\u202e\u009b31m"');
  printError(new Error("\u001b[2Jno luck", { cause }), "/ws/\u2028chat");
  const text = String(write.mock.calls[0]?.[0]);
  expect(text).toMatch(/^sallyport: \/ws\/\\u2028chat: Error: \\u001b\[2Jno luck\n +at /);
  expect(text).toContain('cause: Error: invalid input: "\\u202e\\u009b31m"');
  expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
});

describe("describeError()", () => {
  const word = (error: unknown, repeats = 0) => describeError(error, "enforcement loop", repeats);

  test("is one line for an error of the database", () => {
    const cause = new Error("connect ECONNREFUSED 127.0.0.1:5432");
    const line = word(new StorageError("The database cannot be reached.", { cause }));
    expect(line).toBe("sallyport: enforcement loop: The database cannot be reached.");
  });

  test("contains the stack of an error of the app", () => {
    expect(word(new Error("a bug"))).toMatch(/^sallyport: enforcement loop: Error: a bug\n {4}at /);
  });

  test("contains the causes of an error", () => {
    const error = new Error("a bug", { cause: new Error("the reason", { cause: "the root" }) });
    expect(word(error)).toMatch(/a bug[\s\S]*\n {2}cause: Error: the reason[\s\S]*\n {2}cause: the root/);
  });

  test("contains how many further errors were counted, on one line", () => {
    expect(word(new Error("a bug"), 41)).toBe(
      "sallyport: enforcement loop: Error: a bug (41 more like this)",
    );
  });

  test("escapes control characters and characters that change the text direction", () => {
    const text = "gnp\u202e\u009b31m\u001b]0;x\u0007\nsallyport: all is well";
    const line = word(Object.assign(new Error(text), { stack: undefined }));
    expect(line).toBe(
      "sallyport: enforcement loop: Error: gnp\\u202e\\u009b31m\\u001b]0;x\\u0007\\u000asallyport: all is well",
    );
  });

  test("contains the errors of an AggregateError, such as those of a connection", () => {
    const errors = [
      new Error("connect ECONNREFUSED ::1:5432"),
      new Error("connect ECONNREFUSED 127.0.0.1:5432"),
    ];
    expect(word(new AggregateError(errors))).toContain(
      "AggregateError: Error: connect ECONNREFUSED ::1:5432, Error: connect ECONNREFUSED 127.0.0.1:5432",
    );
  });

  test("contains no line that a message added to the stack", () => {
    const text = word(new Error("a bug\n    at forged (file.js:1:1)"));
    expect(text.split("\n").filter((line) => line.includes("forged"))).toHaveLength(1);
    const short = word(new Error("a bug\n at f"));
    expect(short.match(/ at f$/gm)).toHaveLength(1);
    // If the class of an error has an empty name, its stack begins with the message.
    const message = "a bug\n    at forged";
    const nameless = Object.assign(new Error(message), { name: "", stack: `${message}\n    at f` });
    expect(word(nameless)).toBe(`sallyport: enforcement loop: : a bug\\u000a    at forged\n    at f`);
    const stack = "Error: first\nsallyport: all is well at noon\n    at f";
    const renamed = Object.assign(new Error("first"), { message: "second", stack });
    expect(word(renamed)).toBe("sallyport: enforcement loop: Error: second\n    at f");
  });

  test("contains at most five causes, also of an error that causes itself", () => {
    const causes = (text: string) => text.match(/cause: /g);
    const chain = Array.from({ length: 9 }).reduce<Error>(
      (cause, _, n) => new Error(`${n}`, { cause }),
      Error(),
    );
    expect(causes(word(chain))).toHaveLength(5);
    const itself = new Error("a bug");
    itself.cause = itself;
    expect(causes(word(itself))).toHaveLength(5);
  });

  test("describes a value that cannot be formatted", () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const failing = {
      toJSON() {
        throw new Error("a bug");
      },
    };
    for (const value of [circle, failing]) {
      expect(word(value)).toBe(
        "sallyport: enforcement loop: a value of type object that cannot be written as text",
      );
    }
    expect(word({ a: 1 })).toBe('sallyport: enforcement loop: {"a":1}');
  });

  test.each([undefined, null, 7, Symbol("s"), { a: 1 }, Object.create(null), "text"])(
    "describes %o, which is not an error",
    (value) => {
      expect(word(value)).toMatch(/^sallyport: enforcement loop: /);
    },
  );
});
