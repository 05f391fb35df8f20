import { execFileSync, spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { completionScript } from "./completion.ts";
import { commandLine } from "./main.ts";

const output = { print: () => undefined, complain: () => undefined, end: () => undefined };
const scriptOf = (shell: "bash" | "zsh" | "fish") => completionScript(commandLine(output), shell).join("\n");

/** Returns what bash offers for the words that were typed. */
function offered(...words: readonly string[]): readonly string[] {
  const script = `${scriptOf("bash")}
COMP_WORDS=(sallyport ${words.map((word) => JSON.stringify(word)).join(" ")})
COMP_CWORD=${words.length}
_sallyport sallyport ${JSON.stringify(words.at(-1))}
printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync("bash", ["-c", script], { encoding: "utf8" }).trim().split("\n");
}

test("bash completes commands, subcommands and options", () => {
  expect(offered("us")).toEqual(["users"]);
  expect(offered("users", "g")).toEqual(["grant"]);
  expect(offered("users", "grant", "ann@example.com", "chat.use", "--u")).toEqual(["--until"]);
  expect(offered("users", "grant", "--dry-run", "--rea")).toEqual(["--reason"]);
  expect(offered("doc")).toEqual(["doctor"]);
});

test("bash skips the value of an option", () => {
  expect(offered("--app", "x.ts", "us")).toEqual(["users"]);
  expect(offered("--app", "=", "x.ts", "us")).toEqual(["users"]);
  expect(offered("users", "grant", "--reason", "list", "--dr")).toEqual(["--dry-run"]);
});

test("bash compares whole names of commands", () => {
  expect(offered("why", "--chan")).toEqual(["--channel"]);
  expect(offered("whyx", "--chan")).toEqual([""]);
});

test("bash completes choices", () => {
  expect(offered("init", "--template", "")).toContain("fastify-sqlite");
  expect(offered("init", "--template", "mi")).toEqual(["minimal"]);
  expect(offered("completion", "b")).toEqual(["bash"]);
});

test("bash completes names of files where no word matches", () => {
  expect(offered("--app", "x")).toEqual([""]);
  expect(scriptOf("bash")).toContain("complete -o default -F _sallyport sallyport");
});

test.each(["zsh", "fish"] as const)("%s accepts the script", (shell) => {
  const { error, status, stderr } = spawnSync(shell, ["-n"], { input: scriptOf(shell), encoding: "utf8" });
  // Where the shell is not installed, the script is only compared with the commands.
  if (!error) expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  for (const name of ["users", "grant", "doctor", "gateway"]) expect(scriptOf(shell)).toContain(name);
});
