import { expect, test } from "vitest";
import { withReload } from "./reload.ts";

test.each([
  ["node server.js", "node --watch --watch-preserve-output server.js"],
  ["node server.js watch", "node --watch --watch-preserve-output server.js watch"],
  ["node --import tsx server.ts", "node --watch --watch-preserve-output --import tsx server.ts"],
  ["tsx src/server.ts", "tsx watch --clear-screen=false src/server.ts"],
  ["bun server.ts", "bun --watch --no-clear-screen server.ts"],
])("%s is run as %s", (command, expected) => {
  expect(withReload(command.split(" ")).join(" ")).toBe(expected);
});

test.each([
  "node --watch server.js",
  "node --watch-path=src server.js",
  "node -e 1",
  "tsx watch a.ts",
  "next dev",
  "node",
])("%s is run as it is", (command) => {
  expect(withReload(command.split(" ")).join(" ")).toBe(command);
});
