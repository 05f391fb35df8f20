import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { expect } from "vitest";

export const root = resolve(import.meta.dirname, "../..");
export const bin = join(root, "bin/sallyport.js");

/** The output of a command and its exit code. */
export interface Printed {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/**
 * Runs the CLI in a separate process, with the app in test/processes/app.ts.
 *
 * @param env environment variables in addition to those of this process, such as TEST_DATABASE
 */
export function commandLineWith(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  cwd = root,
): Promise<Printed> {
  const all = { ...process.env, SALLYPORT_APP: join(root, "test/processes/app.ts"), ...env };
  return new Promise((done) => {
    const child = execFile(process.execPath, [bin, ...args], { env: all, cwd }, (_error, out, err) =>
      done({ code: child.exitCode, out, err }),
    );
  });
}

/** Returns the only JSON document on stdout of a command that succeeded. */
export function document({ code, out, err }: Printed): unknown {
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out.endsWith("\n") && !out.slice(0, -1).includes("\n")).toBe(true);
  return JSON.parse(out);
}

export const ANN = "ann@example.com";
export const BOB = "bob@example.com";
export const USE = "chat.can_use_chat";
export const MODERATE = "chat.can_moderate_chat";
