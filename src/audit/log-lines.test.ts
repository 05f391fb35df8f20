import { expect, test } from "vitest";
import { ForbiddenError } from "../errors.ts";
import { evaluateRule } from "../permissions/rules.ts";
import { createDecisionContext, denied, recordStep } from "./decision.ts";
import { denialText } from "./log-lines.ts";

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
  return denialText({ ...denied(context, error, "cf5578728218"), ...fields });
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
