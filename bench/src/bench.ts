import { readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { resolve } from "node:path";
import { events } from "./events.js";
import { fanout } from "./fanout.js";
import { firstSend } from "./first-send.js";
import { growth } from "./growth.js";
import { imports } from "./imports.js";
import { memory } from "./memory.js";
import { isKept, type Row } from "./pairs.js";
import { twoWriters } from "./two-writers.js";

/**
 * `npm run bench`: every part, or those that are named (`npm run bench -- fanout imports`). All of them together are written to
 * bench/results.json and into docs/performance.md.
 */
const PARTS: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  events,
  fanout,
  "first-send": firstSend,
  growth,
  memory,
  imports,
  "two-writers": twoWriters,
};

const named = process.argv.slice(2);
const unknown = named.filter((name) => !Object.hasOwn(PARTS, name));
if (unknown.length > 0) {
  console.error(`There is no part ${unknown.join(", ")}. There are: ${Object.keys(PARTS).join(", ")}.`);
  process.exit(1);
}

const [cpu] = cpus();
const machine = `Node ${process.version}, ${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
console.log(`${machine}\n`);
const rows: Row[] = [];
for (const name of named.length > 0 ? named : Object.keys(PARTS)) {
  for (const row of (await PARTS[name]?.()) ?? []) {
    rows.push(row);
    console.log(line(row).join("  "));
  }
}

if (named.length === 0) {
  const root = resolve(import.meta.dirname, "../..");
  const results = { machine, measured: new Date().toISOString().slice(0, 10), rows };
  writeFileSync(resolve(root, "bench/results.json"), `${JSON.stringify(results, null, 2)}\n`);
  const page = resolve(root, "docs/performance.md");
  writeFileSync(page, withTable(readFileSync(page, "utf8")));
}

function line(row: Row): string[] {
  const kept = isKept(row);
  return [
    row.name.padEnd(24),
    formatNumber(row.value).padStart(9),
    formatNumber(row.floor).padStart(9),
    row.ratio.toFixed(2).padStart(6),
    `${formatNumber(row.min)}–${formatNumber(row.max)}`.padStart(17),
    row.unit.padEnd(11),
    kept === undefined ? "" : kept ? "kept" : "MISSED",
  ];
}

function formatNumber(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function promised({ promise }: Row): string {
  if (!promise) return "";
  const of = promise.of === "value" ? "" : " ×";
  return promise.least === undefined ? `≤ ${promise.most}${of}` : `≥ ${promise.least}${of}`;
}

/** The page with these figures between its marks. */
function withTable(page: string): string {
  const lines = [
    `${machine}, ${new Date().toISOString().slice(0, 10)}.`,
    "",
    "| what | unit | median | floor | ratio | range | promise | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ...rows.map((row) => {
      const kept = isKept(row);
      const cells = [
        row.name,
        row.unit,
        formatNumber(row.value),
        formatNumber(row.floor),
        row.ratio.toFixed(2),
        `${formatNumber(row.min)}–${formatNumber(row.max)}`,
        promised(row),
        kept === undefined ? "" : kept ? "kept" : "missed",
      ];
      return `| ${cells.join(" | ")} |`;
    }),
  ];
  return page.replace(
    /(<!-- figures -->\n)[\s\S]*?(\n<!-- \/figures -->)/,
    (_all, begin: string, end: string) => `${begin}\n${lines.join("\n")}\n${end}`,
  );
}
