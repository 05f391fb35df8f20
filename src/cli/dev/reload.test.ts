import { expect, test } from "vitest";
import { isWatched, withReload } from "./reload.ts";

test.each([
  ["tsx src/server.ts", "tsx watch --clear-screen=false src/server.ts"],
  ["bun server.ts", "bun --watch --no-clear-screen server.ts"],
])("%s is run as %s", (command, expected) => {
  expect(withReload(command.split(" ")).join(" ")).toBe(expected);
});

test.each([
  "node server.js",
  "node --watch server.js",
  "node --watch-path=src server.js",
  "node -e 1",
  "tsx watch a.ts",
  "next dev",
  "node",
])("%s is run as it is", (command) => {
  expect(withReload(command.split(" ")).join(" ")).toBe(command);
});

test.each([
  ["node server.js", true],
  ["node server.js watch", true],
  ["node --import tsx server.ts", true],
  ["node --watch server.js", false],
  ["node --run serve", false],
  ["node -e 1", false],
  ["node", false],
  ["tsx server.ts", false],
])("whether dev restarts %s: %s", (command, expected) => {
  expect(isWatched(command.split(" "))).toBe(expected);
});
