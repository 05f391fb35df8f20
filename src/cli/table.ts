import { printable } from "../format-value.ts";

/** The maximum number of rows of a list in text form. With `--json`, all rows are printed. */
export const MAX_ROWS = 50;

/** Formats rows as lines with aligned columns. */
export function aligned(rows: readonly (readonly string[])[]): readonly string[] {
  const cells = rows.map((row) => row.map(printable));
  const widths = cells.reduce<number[]>((maximum, row) => {
    row.forEach((cell, index) => {
      maximum[index] = Math.max(maximum[index] ?? 0, cell.length);
    });
    return maximum;
  }, []);
  return cells.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** Returns the first lines, and a line with the number of the others. */
export function first(lines: readonly string[], all = lines.length): readonly string[] {
  const printed = lines.slice(0, MAX_ROWS);
  const rest = all - printed.length;
  return rest > 0 ? [...printed, `and ${rest} more (--json lists all)`] : printed;
}
