import { expect, test } from "vitest";
import { closestMatch } from "./closest-match.ts";

test("suggests the most similar known word", () => {
  expect(closestMatch("chat.can_use_caht", ["chat.can_use_chat", "chat.can_moderate_chat"])).toBe(
    ' Did you mean "chat.can_use_chat"?',
  );
});

test("ignores case, and returns an empty string if no word is similar", () => {
  expect(closestMatch("EVE@example.com", ["eve@example.com"])).toBe(' Did you mean "eve@example.com"?');
  expect(closestMatch("zebra", ["chat.can_use_chat"])).toBe("");
});
