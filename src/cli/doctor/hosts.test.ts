import { expect, test } from "vitest";
import { sharedDomain } from "./hosts.ts";

test.each([
  ["www.example.com", "ws.example.com", "example.com"],
  ["example.com", "ws.example.com", "example.com"],
  ["a.b.example.com", "c.b.Example.com", "b.example.com"],
  ["www.example.com", "ws.example.org", undefined],
  ["localhost", "localhost", undefined],
  ["example.com", "com", undefined],
])("sharedDomain(%j, %j) returns %j", (page, socket, shared) => {
  expect(sharedDomain(page, socket)).toBe(shared);
});
