import { printable } from "../../format-value.ts";
import type { Color } from "../terminal.ts";
import type { CheckResult } from "./check.ts";
import type { FindingStatus } from "./finding.ts";

const MARKS: Readonly<Record<FindingStatus, { readonly mark: string; readonly color: Color }>> = {
  ok: { mark: "✔", color: "green" },
  warning: { mark: "!", color: "yellow" },
  failed: { mark: "✘", color: "red" },
  skipped: { mark: "-", color: "gray" },
  "check by hand": { mark: "?", color: "cyan" },
};

/** A line of the text form. Its first character has the color. */
export interface DoctorLine {
  readonly text: string;
  readonly color?: Color;
}

/** Formats a result: mark, name and message, and the fix in a second line. */
export function linesOf({ check, status, message, fix }: CheckResult, width: number): readonly DoctorLine[] {
  const { mark, color } = MARKS[status];
  const byHand = status === "check by hand" ? "Check by hand: " : "";
  const text = printable(`${mark} ${check.padEnd(width)}  ${byHand}${message}`);
  if (fix === undefined) return [{ text, color }];
  return [{ text, color }, { text: printable(`  ${" ".repeat(width)}  → ${fix}`) }];
}

/** Formats all results, and a last line with their numbers. */
export function reportLines(results: readonly CheckResult[]): readonly DoctorLine[] {
  const width = Math.max(...results.map(({ check }) => check.length));
  return [...results.flatMap((result) => linesOf(result, width)), { text: "" }, { text: summary(results) }];
}

function summary(results: readonly CheckResult[]): string {
  const count = (status: FindingStatus) => results.filter((result) => result.status === status).length;
  const counts = [
    ["failed", count("failed")],
    [count("warning") === 1 ? "warning" : "warnings", count("warning")],
    ["to check by hand", count("check by hand")],
    ["skipped", count("skipped")],
    ["ok", count("ok")],
  ] as const;
  return counts
    .filter(([name, number]) => number > 0 || name === "failed")
    .map(([name, number]) => `${number} ${name}`)
    .join(", ");
}
