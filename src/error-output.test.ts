import { expect, onTestFinished, test, vi } from "vitest";
import { printError } from "./error-output.ts";

test("writes an error with its stack and its cause, and no character that cannot be seen", () => {
  const write = vi.spyOn(console, "error").mockImplementation(() => undefined);
  onTestFinished(() => write.mockRestore());
  const cause = new Error('invalid input: "\u202e\u009b31m"');
  printError(new Error("\u001b[2Jno luck", { cause }), "sallyport: /ws/\u2028chat");
  const text = String(write.mock.calls[0]?.[0]);
  expect(text).toMatch(/^sallyport: \/ws\/\\u2028chat: Error: \\u001b\[2Jno luck\n +at /);
  expect(text).toContain('[cause]: Error: invalid input: "\\u202e\\u009b31m"');
  expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
});
