import type { Command } from "commander";
import { expect, test } from "vitest";
import { commandsOf, examplesOf } from "./examples.ts";
import { commandLine } from "./main.ts";

const output = { print: () => undefined, complain: () => undefined, end: () => undefined };

test("each command has an example, and no example has no command", () => {
  const paths = commandsOf(commandLine(output)).map(([path]) => path);
  expect(paths.filter((path) => examplesOf(path).length === 0)).toEqual([]);
  expect(paths.length).toBeGreaterThan(35);
});

test.each(
  commandsOf(commandLine(output)).flatMap(([path]) => examplesOf(path).map((example) => [path, example])),
)("%s: npx sallyport %s", async (path, example) => {
  const program = commandLine(output);
  const [, command] = commandsOf(program).find(([each]) => each === path) as [string, Command];
  let hasRun = false;
  command.action(() => {
    hasRun = true;
  });
  // Quoted words are one argument, and a redirection belongs to the shell.
  const words = [...(example.split(/ >>? /)[0] as string).matchAll(/"([^"]*)"|(\S+)/g)];
  await program.parseAsync(
    words.map(([, quoted, word]) => quoted ?? word ?? ""),
    { from: "user" },
  );
  expect(hasRun).toBe(true);
  expect(command.helpInformation()).toContain(command.description().slice(0, 20));
});
