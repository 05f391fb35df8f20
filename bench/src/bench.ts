import { readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { resolve } from "node:path";
import { type Comparison, meetsGoal } from "./comparison.js";
import { events } from "./events.js";
import { fanout } from "./fanout.js";
import { firstSend } from "./first-send.js";
import { growth } from "./growth.js";
import { imports } from "./imports.js";
import { memory } from "./memory.js";
import { twoWriters } from "./two-writers.js";

/**
 * `npm run bench`: compares Sallyport with a baseline for each path.
 *
 * Runs all parts, or those in the arguments (`npm run bench -- fanout imports`). A run of all parts
 * writes the results to bench/results.json and docs/explanation/performance.md.
 */
const PARTS: Readonly<Record<string, () => Promise<readonly Comparison[]>>> = {
  events,
  fanout,
  "first-send": firstSend,
  growth,
  memory,
  imports,
  "two-writers": twoWriters,
};

const requested = process.argv.slice(2);
const unknown = requested.filter((name) => !Object.hasOwn(PARTS, name));
if (unknown.length > 0) {
  console.error(`Unknown part: ${unknown.join(", ")}. The parts are: ${Object.keys(PARTS).join(", ")}.`);
  process.exit(1);
}

const [cpu] = cpus();
const machine = `Node ${process.version}, ${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
console.log(`${machine}\n`);
const rows: Comparison[] = [];
for (const name of requested.length > 0 ? requested : Object.keys(PARTS)) {
  for (const row of (await PARTS[name]?.()) ?? []) {
    rows.push(row);
    console.log(formatRow(row).join("  "));
  }
}

if (requested.length === 0) {
  const root = resolve(import.meta.dirname, "../..");
  const results = { machine, measured: new Date().toISOString().slice(0, 10), rows };
  writeFileSync(resolve(root, "bench/results.json"), `${JSON.stringify(results, null, 2)}\n`);
  const page = resolve(root, "docs/explanation/performance.md");
  writeFileSync(page, withTable(readFileSync(page, "utf8")));
}

function formatRow(row: Comparison): string[] {
  const isMet = meetsGoal(row);
  return [
    row.name.padEnd(24),
    formatNumber(row.value).padStart(9),
    formatNumber(row.baseline).padStart(9),
    row.ratio.toFixed(2).padStart(6),
    `${formatNumber(row.min)}–${formatNumber(row.max)}`.padStart(17),
    row.unit.padEnd(11),
    isMet === undefined ? "" : isMet ? "met" : "MISSED",
  ];
}

function formatNumber(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function formatGoal({ goal }: Comparison): string {
  if (!goal) return "";
  const unit = goal.of === "value" ? "" : " ×";
  return goal.min === undefined ? `≤ ${goal.max}${unit}` : `≥ ${goal.min}${unit}`;
}

/** Returns the page with the table between its `figures` comments. */
function withTable(page: string): string {
  const lines = [
    `${machine}, ${new Date().toISOString().slice(0, 10)}.`,
    "",
    "| what | unit | median | baseline | ratio | range | goal | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ...rows.map((row) => {
      const isMet = meetsGoal(row);
      const cells = [
        row.name,
        row.unit,
        formatNumber(row.value),
        formatNumber(row.baseline),
        row.ratio.toFixed(2),
        `${formatNumber(row.min)}–${formatNumber(row.max)}`,
        formatGoal(row),
        isMet === undefined ? "" : isMet ? "met" : "missed",
      ];
      return `| ${cells.join(" | ")} |`;
    }),
  ];
  return page.replace(
    /(<!-- figures -->\n)[\s\S]*?(\n<!-- \/figures -->)/,
    (_all, begin: string, end: string) => `${begin}\n${lines.join("\n")}\n${end}`,
  );
}
