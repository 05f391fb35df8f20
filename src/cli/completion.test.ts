import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { completionScript } from "./completion.ts";
import { commandLine } from "./main.ts";

const output = { print: () => undefined, complain: () => undefined, end: () => undefined };
const scriptOf = (shell: "bash" | "zsh" | "fish") => completionScript(commandLine(output), shell).join("\n");

/** Returns what bash offers for the words that were typed. */
function offered(...words: readonly string[]): readonly string[] {
  return offeredAfter("sallyport", words);
}

/**
 * Returns what bash offers for the words after a command, with the function that is registered for
 * the command.
 *
 * @param before commands that ran before the script
 */
function offeredAfter(command: string, words: readonly string[], before = ""): readonly string[] {
  const script = `${before}
${scriptOf("bash")}
registered=$(complete -p ${command})
[[ "$registered" =~ -F\\ ([a-z_]+) ]]
COMP_WORDS=(${command} ${words.map((word) => JSON.stringify(word)).join(" ")})
COMP_CWORD=${words.length}
"\${BASH_REMATCH[1]}" ${command} ${JSON.stringify(words.at(-1))}
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

test("bash completes npx sallyport, and names of files after npx of another package", () => {
  expect(offeredAfter("npx", ["sallyport", "us"])).toEqual(["users"]);
  expect(offeredAfter("npx", ["sallyport", "users", "grant", "ann", "--rea"])).toEqual(["--reason"]);
  expect(offeredAfter("npx", ["sallyport", "init", "--template", "mi"])).toEqual(["minimal"]);
  expect(offeredAfter("npx", ["sallyport", "--app", "=", "x.ts", "us"])).toEqual(["users"]);
  expect(offeredAfter("npx", ["vitest", "us"])).toEqual([""]);
  expect(offeredAfter("npx", ["sally"])).toEqual([""]);
  expect(scriptOf("bash")).toContain("complete -o default -F _sallyport_npx npx");
});

test("bash keeps a completion of npx that exists", () => {
  const existing = "_other_npx() { COMPREPLY=(other); }; complete -F _other_npx npx";
  expect(offeredAfter("npx", ["sallyport", "us"], existing)).toEqual(["other"]);
  expect(offeredAfter("sallyport", ["us"], existing)).toEqual(["users"]);
});

test.each(["zsh", "fish"] as const)("%s accepts the script", (shell) => {
  const folder = mkdtempSync(join(tmpdir(), "sallyport-completion-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, `script.${shell}`);
  writeFileSync(file, scriptOf(shell));
  const { error, status, stderr } = spawnSync(shell, ["-n", file], { encoding: "utf8" });
  // Where the shell is not installed, the script is only compared with the commands.
  if (!error) expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  for (const name of ["users", "grant", "doctor", "gateway"]) expect(scriptOf(shell)).toContain(name);
});
