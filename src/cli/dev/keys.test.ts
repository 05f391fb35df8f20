import { once } from "node:events";
import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { onKeys } from "./keys.ts";

/** An input that records the raw mode. Node.js sends each key of a terminal in raw mode. */
class Terminal extends PassThrough {
  readonly isTTY: boolean;
  readonly rawModes: boolean[] = [];

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  setRawMode(mode: boolean): this {
    this.rawModes.push(mode);
    return this;
  }
}

const listen = (terminal: Terminal, actions: Readonly<Record<string, () => void>>) =>
  onKeys(actions, terminal as unknown as NodeJS.ReadStream);

test("calls the function of a key, and ignores other keys and names of every object", async () => {
  const terminal = new Terminal(true);
  const pressed: string[] = [];
  const release = listen(terminal, { r: () => pressed.push("r"), q: () => pressed.push("q") });
  terminal.write("rxq\u001b[A");
  terminal.emit("keypress", undefined, { name: "constructor" });
  await expect.poll(() => pressed).toEqual(["r", "q"]);
  release();
  terminal.write("r");
  await new Promise((resolve) => setImmediate(resolve));
  expect(pressed).toEqual(["r", "q"]);
  expect(terminal.rawModes).toEqual([true, false]);
});

test("sends SIGINT to this process for Ctrl-C, which raw mode does not do", async () => {
  const terminal = new Terminal(true);
  const release = listen(terminal, { c: () => expect.unreachable() });
  const interrupted = once(process, "SIGINT");
  terminal.write("\u0003");
  await interrupted;
  release();
});

test("does not read keys if the input is not a terminal", () => {
  const terminal = new Terminal(false);
  listen(terminal, { r: () => undefined })();
  expect(terminal.rawModes).toEqual([]);
  expect(terminal.listenerCount("keypress")).toBe(0);
});
