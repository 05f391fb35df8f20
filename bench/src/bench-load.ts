import { fork } from "node:child_process";
import { once } from "node:events";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Figure } from "./figures.js";
import { SCENARIOS } from "./scenarios.js";

/**
 * `npm run bench:load`: measures how load or a failure in one place affects other clients.
 *
 * Runs all scenarios, or those in the arguments (`npm run bench:load -- changing-grants`). Each
 * scenario runs in its own process.
 *
 * `--compare <folder>` also runs each scenario with the package that was built in another checkout,
 * and prints both figures. `--write` writes the table to docs/explanation/performance.md.
 */
const ROOT = resolve(import.meta.dirname, "../..");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    compare: { type: "string" },
    write: { type: "boolean", default: false },
    run: { type: "string" },
  },
});

if (values.run !== undefined) {
  process.send?.(await SCENARIOS[values.run]?.());
  process.exit(0);
}

const unknown = positionals.filter((name) => !Object.hasOwn(SCENARIOS, name));
if (unknown.length > 0) {
  console.error(
    `Unknown scenario: ${unknown.join(", ")}. The scenarios are: ${Object.keys(SCENARIOS).join(", ")}.`,
  );
  process.exit(1);
}

const [cpu] = cpus();
console.log(
  `Node ${process.version}, ${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB\n`,
);
const other = values.compare === undefined ? undefined : await copyScenarios(resolve(values.compare));
const lines: string[] = [];
try {
  for (const name of positionals.length > 0 ? positionals : Object.keys(SCENARIOS)) {
    const before = other === undefined ? [] : await runScenario(other, name);
    const figures = await runScenario(join(import.meta.dirname, "bench-load.js"), name);
    for (const figure of figures) {
      const cells = [
        name,
        figure.name,
        formatFigure(before.find(({ name }) => name === figure.name)),
        formatFigure(figure),
        figure.target === undefined ? "" : `≤ ${formatNumber(figure.target)} ${figure.unit}`.trim(),
        figure.target === undefined ? "" : figure.value <= figure.target ? "met" : "missed",
      ];
      lines.push(`| ${cells.join(" | ")} |`);
      console.log(cells.join("  ").trimEnd());
    }
  }
} finally {
  if (other !== undefined) await rm(join(other, ".."), { recursive: true, force: true });
}
if (values.write) await writeTable(lines);

/**
 * Copies the compiled scenarios into another checkout, where they import the package of that
 * checkout.
 *
 * @returns path of the script to run there
 */
async function copyScenarios(folder: string): Promise<string> {
  const copy = join(folder, "bench", "dist-compare");
  await rm(copy, { recursive: true, force: true });
  await cp(import.meta.dirname, copy, { recursive: true });
  return join(copy, "bench-load.js");
}

async function runScenario(script: string, name: string): Promise<readonly Figure[]> {
  const child = fork(script, ["--run", name]);
  let figures: readonly Figure[] | undefined;
  child.once("message", (message) => {
    figures = message as readonly Figure[];
  });
  const [code] = (await once(child, "exit")) as [number | null];
  if (figures === undefined)
    throw new Error(`Scenario ${name} exited with code ${code} and reported no figures.`);
  return figures;
}

function formatFigure(figure: Figure | undefined): string {
  if (figure === undefined) return "";
  const { value, unit } = figure;
  return `${formatNumber(value)} ${unit}`.trim();
}

function formatNumber(value: number): string {
  return Number.isInteger(value) || value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

async function writeTable(rows: readonly string[]): Promise<void> {
  const page = join(ROOT, "docs/explanation/performance.md");
  const text = await readFile(page, "utf8");
  const table = [
    "| scenario | figure | before | now | goal | |",
    "| --- | --- | --- | --- | --- | --- |",
    ...rows,
  ];
  const marked = /(<!-- load -->\n)[\s\S]*?(\n<!-- \/load -->)/;
  await writeFile(
    page,
    text.replace(marked, (_all, begin: string, end: string) => `${begin}\n${table.join("\n")}\n${end}`),
  );
}
