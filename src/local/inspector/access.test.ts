import type { IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { checkAccess } from "./access.ts";

const JSON_TYPE = { "content-type": "application/json" };

function statusOf(headers: Record<string, string>, method = "POST", socket: object = {}) {
  return checkAccess({ method, headers: { host: "localhost:3001", ...headers }, socket } as IncomingMessage);
}

test.each<Record<string, string>>([
  { "sec-fetch-site": "same-origin" },
  { origin: "http://localhost:3001" },
  { "sec-fetch-site": "same-origin", origin: "http://localhost:3001" },
  { host: "LOCALHOST:3001", origin: "http://localhost:3001" },
])("allows the gateway's own page: %j", (headers) => {
  expect(statusOf({ ...JSON_TYPE, ...headers })).toBeUndefined();
});

test("compares the scheme of the origin", () => {
  const origin = { ...JSON_TYPE, origin: "https://localhost:3001" };
  expect(statusOf(origin)).toBe(403);
  expect(statusOf(origin, "POST", { encrypted: true })).toBeUndefined();
});

test.each<Record<string, string>>([
  {},
  { "sec-fetch-site": "none" },
  { "sec-fetch-site": "same-site" },
  { "sec-fetch-site": "cross-site" },
  { "sec-fetch-site": "cross-site", origin: "http://localhost:3001" },
  { "sec-fetch-site": "same-origin", origin: "http://localhost:3000" },
  { origin: "null" },
  { origin: "" },
  { origin: "http://127.0.0.1:3001" },
  { origin: "http://localhost:3001.evil.example" },
  { origin: "https://evil.example" },
])("rejects another page with 403: %j", (headers) => {
  expect(statusOf({ ...JSON_TYPE, ...headers })).toBe(403);
});

test("rejects a content type that needs no preflight with 415", () => {
  const own = { "sec-fetch-site": "same-origin" };
  expect(statusOf(own)).toBe(415);
  expect(statusOf({ ...own, "content-type": "text/plain" })).toBe(415);
  expect(statusOf({ ...own, "content-type": "text/plain; application/json" })).toBe(415);
  expect(statusOf({ ...own, "content-type": "application/jsonp" })).toBe(415);
  expect(statusOf({ ...own, "content-type": "application/json; charset=utf-8" })).toBeUndefined();
});

test("rejects another method with 405, after the check of the page", () => {
  expect(statusOf({ "sec-fetch-site": "same-origin" }, "GET")).toBe(405);
  expect(statusOf({ "sec-fetch-site": "cross-site" }, "OPTIONS")).toBe(403);
});
