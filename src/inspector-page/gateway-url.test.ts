import { expect, test } from "vitest";
import { urlOnHost } from "./gateway-url.ts";

test.each([
  ["ws://0.0.0.0:3001/dev", "localhost:3001", "ws://localhost:3001/dev"],
  ["wss://[::]:3001/dev", "[::1]:3001", "wss://[::1]:3001/dev"],
  ["", "localhost:3001", ""],
])("replaces the host of %j by that of the page, %s", (url, host, expected) => {
  expect(urlOnHost(url, host)).toBe(expected);
});
