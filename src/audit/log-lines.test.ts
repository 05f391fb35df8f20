import { expect, onTestFinished, test, vi } from "vitest";
import { ForbiddenError } from "../errors.ts";
import { evaluateRule } from "../permissions/rules.ts";
import { createDecisionContext, denied, recordStep } from "./decision.ts";
import { formatDenial, printDenial } from "./log-lines.ts";

const subject = { userId: "eve", isActive: true, isSuperuser: false, permissions: [], grants: [] };

function line(rule: { anyOf?: string[]; allOf?: string[] }, fields: object = {}): string {
  const compiled = {
    signedIn: true,
    anyOf: rule.anyOf ? [rule.anyOf] : [],
    allOf: rule.allOf ?? [],
  } as never;
  const verdict = evaluateRule(compiled, subject);
  const context = createDecisionContext("message", "/ws/chat/default");
  Object.assign(context, { userId: "eve", view: "/ws/chat", ...fields });
  recordStep(context, { kind: "rule", what: "ChatView", rule: compiled, subject, verdict });
  const missing = verdict.allowed ? [] : verdict.missing;
  const error = new ForbiddenError("ChatView needs it.", { reason: "permission", missing });
  return formatDenial({ ...denied(context, error, "cf5578728218"), ...fields });
}

test("a denial names the missing permissions, and whether one or all are needed", () => {
  expect(line({ anyOf: ["a.b"] })).toBe("403 eve /ws/chat needs a.b (why: cf5578728218)");
  expect(line({ anyOf: ["a.b", "a.c"] })).toBe("403 eve /ws/chat needs a.b or a.c (why: cf5578728218)");
  expect(line({ allOf: ["a.b", "a.c"] })).toBe("403 eve /ws/chat needs a.b and a.c (why: cf5578728218)");
});

test("a denial names the handler and the channel, and the number of repeats", () => {
  const fields = { handler: "delete", channel: "rooms/one", repeats: 12 };
  expect(line({ anyOf: ["a.b"] }, fields)).toBe(
    "403 eve /ws/chat delete rooms/one needs a.b (why: cf5578728218, 12 more like this)",
  );
});

test("a name that could be read as another part of the line is quoted", () => {
  const forged = "x needs chat.admin (why: 000000000000)";
  expect(line({ anyOf: ["a.b"] }, { handler: forged })).toBe(
    `403 eve /ws/chat "${forged}" needs a.b (why: cf5578728218)`,
  );
  expect(line({ anyOf: ["a.b"] }, { userId: "anonymous" })).toMatch(/^403 "anonymous" /);
  expect(line({ anyOf: ["a.b"] }, { userId: undefined })).toMatch(/^403 anonymous /);
});

test("a JSON line contains no bidirectional controls or line separators, and means the same", () => {
  const lines: string[] = [];
  const spy = vi.spyOn(console, "warn").mockImplementation((text: string) => void lines.push(text));
  onTestFinished(() => spy.mockRestore());
  const userId = "eve\u202e\u2028nimda";
  const context = { ...createDecisionContext("message", "/ws/chat/default"), userId };
  const error = new ForbiddenError("No.", { reason: "permission" });
  printDenial(denied(context, error, "cf5578728218"), "json");
  expect(lines[0]).toMatch(/^[\x20-\x7e]+$/);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ level: "warn", userId });
});
