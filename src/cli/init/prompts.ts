import { ConfigurationError } from "../../errors.ts";

/** The questions of `init`. */
export interface Prompts {
  /** Asks for the folder of a new app. */
  folder(): Promise<string>;
  choose<Value extends string>(
    message: string,
    choices: readonly { readonly value: Value; readonly hint: string }[],
  ): Promise<Value>;
  confirm(message: string): Promise<boolean>;
}

/** Returns the questions, or undefined if stdin is not a terminal. */
export async function prompts(): Promise<Prompts | undefined> {
  if (!process.stdin.isTTY) return undefined;
  const clack = await import("@clack/prompts");
  // stdout contains the output of the command only.
  const output = process.stderr;
  const answered = <Value>(value: Value): Exclude<Value, symbol> => {
    if (clack.isCancel(value)) throw cancelled();
    return value as Exclude<Value, symbol>;
  };
  return {
    folder: async () => {
      const message = "Folder of the app";
      return answered(await clack.text({ message, placeholder: "my-app", defaultValue: "my-app", output }));
    },
    choose: async (message, choices) => {
      const options = choices.map(({ value, hint }) => ({ value: value as string, label: value, hint }));
      return answered(await clack.select({ message, options, output })) as (typeof choices)[number]["value"];
    },
    confirm: async (message) => answered(await clack.confirm({ message, output })),
  };
}

/** Returns the error of a user who answered no, or pressed Ctrl-C. */
export function cancelled(): ConfigurationError {
  return new ConfigurationError("Nothing was written. Run the command again to start over.");
}
