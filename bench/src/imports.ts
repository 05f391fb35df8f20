import { execFileSync } from "node:child_process";
import { pair, type Row } from "./pairs.js";

/** How long a fresh process takes to import the core, against Kysely alone, which the core stands on. */
export async function imports(): Promise<readonly Row[]> {
  const timeOf = (name: string) => async () =>
    Number(
      execFileSync(
        process.execPath,
        [
          "--input-type=module",
          "-e",
          `const begun = performance.now(); await import("${name}"); console.log(performance.now() - begun);`,
        ],
        { encoding: "utf8", cwd: import.meta.dirname },
      ),
    );
  return [
    await pair(
      "import",
      "ms",
      { ours: timeOf("sallyport"), floor: timeOf("kysely") },
      { rounds: 9, promise: { most: 60, of: "value" } },
    ),
  ];
}
