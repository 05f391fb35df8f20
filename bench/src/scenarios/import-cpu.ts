import { execFileSync } from "node:child_process";
import { type Figure, figure } from "../figures.js";

const ROUNDS = 15;

/** Measures the processor time to import the package in a new process, in milliseconds. */
export async function importCpu(): Promise<readonly Figure[]> {
  const script = `const before = process.cpuUsage();
    await import("sallyport");
    const { user, system } = process.cpuUsage(before);
    console.log((user + system) / 1000);`;
  const measure = () =>
    Number(
      execFileSync(process.execPath, ["--input-type=module", "-e", script], {
        encoding: "utf8",
        cwd: import.meta.dirname,
      }),
    );
  measure();
  const readings = Array.from({ length: ROUNDS }, measure);
  return [figure('import "sallyport", processor time', "ms", readings)];
}
