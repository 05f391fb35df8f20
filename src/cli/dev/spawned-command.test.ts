import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { spawnedCommand } from "./spawned-command.ts";

test.each(["linux", "darwin"] as const)("runs a command without a shell on %s", (platform) => {
  expect(spawnedCommand(["tsx", "my server.ts", '"$HOME"'], platform)).toEqual({
    file: "tsx",
    args: ["my server.ts", '"$HOME"'],
    shell: false,
  });
});

test.each(["node", "C:\\Program Files\\nodejs\\node.exe", "bun.EXE"])(
  "runs %s without cmd.exe",
  (program) => {
    const args = ["C:\\my app\\dist\\lambda-runner.js", "a&b"];
    expect(spawnedCommand([program, ...args], "win32")).toEqual({ file: program, args, shell: false });
  },
);

test.each([
  [
    ["tsx", "watch", "--clear-screen=false", "src\\server.ts"],
    "tsx watch --clear-screen=false src\\server.ts",
  ],
  [["tsx", "src/my server.ts"], 'tsx "src/my server.ts"'],
  [["C:\\my tools\\tsx.cmd", "a"], '"C:\\my tools\\tsx.cmd" a'],
  [["next", "dev", "a&b|c<d>e^f(g)"], 'next dev "a&b|c<d>e^f(g)"'],
  [["next", ""], 'next ""'],
  [["next", 'a "b" c'], 'next "a ""b"" c"'],
  [["next", "my folder\\"], 'next "my folder\\\\"'],
  [["next", 'a\\"b'], 'next "a\\\\""b"'],
])("quotes %j for cmd.exe", (command, file) => {
  expect(spawnedCommand(command, "win32")).toEqual({ file, args: [], shell: true });
});

test("uses the platform of this process by default", () => {
  const { file, args, shell } = spawnedCommand([process.execPath, "-p", '"a b"']);
  expect(shell).toBe(false);
  expect(execFileSync(file, args).toString()).toBe("a b\n");
});
