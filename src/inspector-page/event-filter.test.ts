import { expect, test } from "vitest";
import type { EventSummary } from "../local/inspector/messages.ts";
import { filterEvents, isFailure, NO_FILTER } from "./event-filter.ts";
import { applyMessage, EMPTY_FEED } from "./feed-state.ts";

function eventOf(id: number, fields: Partial<EventSummary> = {}): EventSummary {
  return {
    ...{ id, at: 0, kind: "message", routeKey: "$default", apiId: "a", stage: "dev", connectionId: "A" },
    ...{ outcome: "answered", status: 200, tookMs: 1, preview: "", answerPreview: "" },
    ...fields,
  } as EventSummary;
}

const events = [
  eventOf(1, { kind: "connect", routeKey: "$connect" }),
  eventOf(2, { connectionId: "B", preview: '{"text":"Hello"}' }),
  eventOf(3, { outcome: "timed out", status: undefined }),
  eventOf(4, { kind: "management", status: 410, answerPreview: "gone" }),
];
const idsOf = (filter: Partial<typeof NO_FILTER>) =>
  filterEvents(events, { ...NO_FILTER, ...filter }).map(({ id }) => id);

test("lists the newest event first", () => {
  expect(idsOf({})).toEqual([4, 3, 2, 1]);
});

test("filters by kind, connection, failure and text", () => {
  expect(idsOf({ kind: "message" })).toEqual([3, 2]);
  expect(idsOf({ connectionId: "B" })).toEqual([2]);
  expect(idsOf({ onlyFailures: true })).toEqual([4, 3]);
  expect(idsOf({ text: " hello " })).toEqual([2]);
  expect(idsOf({ text: "gone", kind: "message" })).toEqual([]);
});

test("only a message without a route is a failure", () => {
  expect(isFailure(eventOf(1, { kind: "connect", outcome: "no route", status: undefined }))).toBe(false);
  expect(isFailure(eventOf(1, { outcome: "no route", status: undefined }))).toBe(true);
  expect(isFailure(eventOf(1, { outcome: "pending", status: undefined }))).toBe(false);
  expect(isFailure(eventOf(1, { status: 302 }))).toBe(true);
});

test("a snapshot replaces the state, and changes are added to it", () => {
  const connections = { rows: [], count: 0 };
  const snapshot = { type: "snapshot", url: "ws://a", events, connections, faults: {} } as const;
  const state = applyMessage(EMPTY_FEED, snapshot);
  const changed = applyMessage(state, {
    ...{ type: "changes", oldestId: 2, faults: { drop: 1 } },
    events: [eventOf(3), eventOf(5)],
  });
  expect([...changed.events.keys()]).toEqual([2, 3, 4, 5]);
  expect(changed.events.get(3)?.outcome).toBe("answered");
  expect(changed.events.get(4)).toBe(events[3]);
  expect(changed.faults).toEqual({ drop: 1 });
  expect(applyMessage(changed, { ...snapshot, events: [] }).events.size).toBe(0);
});
