import { expect, onTestFinished, test } from "vitest";
import { ManagedProcess, type ProcessOptions } from "./managed-process.ts";

/** Returns a process that runs a script, its lines and how it ended. */
function processOf(script: string, changes: Partial<ProcessOptions> = {}) {
  const lines: string[] = [];
  const exits: string[] = [];
  const managed = new ManagedProcess({
    command: [process.execPath, "-e", script],
    env: {},
    output: (line) => lines.push(line),
    advice: "Check the test.",
    onExit: (how) => exits.push(how),
    ...changes,
  });
  onTestFinished(() => managed.stop());
  return { managed, lines, exits };
}

/** Keeps the process running. */
const STAYS = 'require("node:net").createServer().listen(0);';

test("is replaced by a restart, and its end is then not reported", async () => {
  const { managed, lines, exits } = processOf(`console.log(process.pid); ${STAYS}`);
  await managed.start();
  await expect.poll(() => lines).toHaveLength(1);
  await managed.restart();
  await expect.poll(() => lines).toHaveLength(2);
  expect(lines[0]).not.toBe(lines[1]);
  expect(() => process.kill(Number(lines[0]), 0)).toThrow("ESRCH");
  await managed.stop();
  expect(() => process.kill(Number(lines[1]), 0)).toThrow("ESRCH");
  expect(exits).toEqual([]);
});

test("does not start any more after it was stopped", async () => {
  const { managed, lines } = processOf(`console.log("started"); ${STAYS}`);
  await managed.stop();
  await managed.start();
  await managed.restart();
  expect(lines).toEqual([]);
});

test("reports how it ended by itself", async () => {
  const { managed, exits } = processOf("process.exitCode = 3");
  await managed.start();
  await expect.poll(() => exits).toEqual(["exit code 3"]);
  const killed = processOf("process.kill(process.pid, 'SIGKILL')");
  await killed.managed.start();
  await expect.poll(() => killed.exits).toEqual(["SIGKILL"]);
});

test("prints no line of a process that was replaced", async () => {
  // The process writes while it is being stopped.
  const script = `process.on("SIGTERM", () => { console.log("late"); process.exit(); }); console.log("up"); ${STAYS}`;
  const { managed, lines } = processOf(script);
  await managed.start();
  await expect.poll(() => lines).toEqual(["up"]);
  await managed.restart();
  await expect.poll(() => lines.filter((line) => line === "up")).toHaveLength(2);
  expect(lines).toEqual(["up", "up"]);
});

test("reports a program that does not exist, with what to do", async () => {
  const { managed } = processOf("", { command: ["no-such-program", "x"] });
  await expect(managed.start()).rejects.toThrow(
    '"no-such-program x" cannot be run: spawn no-such-program ENOENT. Check the test.',
  );
});
