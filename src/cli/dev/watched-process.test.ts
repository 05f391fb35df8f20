import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { WatchedProcess } from "./watched-process.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-watched-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const write = (name: string, text: string) => writeFile(join(folder, name), text);

/** Replaces a file, as `sed -i` and some editors do. */
async function replace(name: string, text: string): Promise<void> {
  await write("new", text);
  await rename(join(folder, "new"), join(folder, name));
}

/** Starts main.js of the folder, and returns its lines and how it ended. */
async function startMain() {
  const lines: string[] = [];
  const exits: string[] = [];
  const watched = new WatchedProcess({
    command: [process.execPath, join(folder, "main.js")],
    env: {},
    output: (line) => lines.push(line),
    advice: "Check the test.",
    onExit: (how) => exits.push(how),
  });
  onTestFinished(() => watched.stop());
  await watched.start();
  return { watched, lines, exits };
}

const STAYS = 'require("node:net").createServer().listen(0);';

test("restarts for each change of a loaded file, also if the file is replaced each time", async () => {
  await write("value.js", "module.exports = 0;");
  await write("main.js", `console.log(require("./value.js")); ${STAYS}`);
  const { lines } = await startMain();
  await expect.poll(() => lines).toEqual(["0"]);
  for (const value of [1, 2, 3]) {
    await replace("value.js", `module.exports = ${value};`);
    await expect.poll(() => lines.at(-1)).toBe(String(value));
  }
  await write("value.js", "module.exports = 4;");
  await expect.poll(() => lines.at(-1)).toBe("4");
});

test("starts a process again that has ended, when the file that it failed in is corrected", async () => {
  await write("main.js", `import "./part.js"; console.log("up");`);
  await write("part.js", "throw new Error('wrong');");
  await write("package.json", '{ "type": "module" }');
  const { lines, exits } = await startMain();
  await expect.poll(() => exits).toEqual(["exit code 1"]);
  await replace("part.js", "export {};");
  await expect.poll(() => lines).toEqual(["up"]);
});

test("restarts for a change between the start of the process and the report of its files", async () => {
  await write("value.js", "module.exports = 'old';");
  // The process changes the file after it has read it, and before it is watched.
  await write(
    "main.js",
    `const value = require("./value.js");
    if (value === "old") require("node:fs").writeFileSync(__dirname + "/value.js", "module.exports = 'new';");
    console.log(value); ${STAYS}`,
  );
  const { lines } = await startMain();
  await expect.poll(() => lines).toEqual(["old", "new"]);
});

test("ignores files that the process did not load, and does not restart after stop()", async () => {
  await write("main.js", `console.log(process.pid); ${STAYS}`);
  const { watched, lines } = await startMain();
  await expect.poll(() => lines).toHaveLength(1);
  await write("other.js", "");
  await watched.stop();
  await write("main.js", "console.log('again')");
  await watched.start();
  expect(lines).toHaveLength(1);
});
