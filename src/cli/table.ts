import { printable } from "../printable.ts";

/** Rows that a person is shown at most; `--json` has all of them. */
export const MAX_ROWS = 50;

/** Lines whose columns stand below each other. */
export function aligned(rows: readonly (readonly string[])[]): readonly string[] {
  const cells = rows.map((row) => row.map(printable));
  const widths = cells.reduce<number[]>((most, row) => {
    row.forEach((cell, index) => {
      most[index] = Math.max(most[index] ?? 0, cell.length);
    });
    return most;
  }, []);
  return cells.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** The first lines, and how many there are besides. */
export function first(lines: readonly string[], all = lines.length): readonly string[] {
  const shown = lines.slice(0, MAX_ROWS);
  const rest = all - shown.length;
  return rest > 0 ? [...shown, `and ${rest} more (--json lists all)`] : shown;
}
