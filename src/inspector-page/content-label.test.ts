import { expect, test } from "vitest";
import type { EventSummary } from "../local/inspector/messages.ts";
import { answerLabel, bodyLabel, contentLabel } from "./content-label.ts";

test.each([
  ['{"id":"1","handler":"send","data":{"text":"hi"}}', "send", '{"data":{"text":"hi"},"id":"1"}'],
  ['{"type":"note","action":"send"}', "send", '{"type":"note"}'],
  ['{"action":"news"}', "news", ""],
  ['{"message_id":1,"userId":2,"valid":true}', "", '{"valid":true,"message_id":1,"userId":2}'],
  ['{"handler":7,"n":1.0}', "", '{"handler":7,"n":1.0}'],
  ['{"id":"1","handler":"send","text":"a long te', "send", '{"text":"a long te…,"id":"1"'],
  ["[1, 2]", "", "[1, 2]"],
  ["plain { text", "", "plain { text"],
  ["{broken", "", "{broken"],
  ["", "", ""],
])("shows the body %s as %j and %j", (body, lead, rest) => {
  expect(bodyLabel(body)).toEqual({ lead, rest });
});

test("names the close code of a disconnect, and leaves out answers without content", () => {
  const disconnect = { kind: "disconnect", preview: "1001", answerPreview: "{}" } as EventSummary;
  expect(contentLabel(disconnect)).toEqual({ lead: "", rest: "code 1001" });
  expect(answerLabel(disconnect)).toBeUndefined();
  const message = { kind: "message", preview: "hi", answerPreview: '{"type":"ok"}' } as EventSummary;
  expect(contentLabel(message)).toEqual({ lead: "", rest: "hi" });
  expect(answerLabel(message)).toEqual({ lead: "ok", rest: "" });
  expect(answerLabel({ ...message, answerPreview: "{}" })).toBeUndefined();
});
