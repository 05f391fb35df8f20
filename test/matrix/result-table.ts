/** Collects one cell per combination, and prints them as a table. */
export class ResultTable {
  readonly #title: string;
  readonly #rows = new Map<string, Map<string, string>>();

  constructor(title: string) {
    this.#title = title;
  }

  /**
   * Runs a combination and records how it ended.
   *
   * @param work returns what to print beside "ok"
   * @throws what `work` throws
   */
  async record(row: string, column: string, work: () => Promise<string>): Promise<void> {
    const cells = this.#rows.get(row) ?? new Map<string, string>();
    this.#rows.set(row, cells);
    cells.set(column, "FAILED");
    cells.set(column, `ok ${await work()}`.trim());
  }

  /** Writes the table to standard output. Combinations that did not run are empty. */
  print(): void {
    const columns = [...new Set([...this.#rows.values()].flatMap((cells) => [...cells.keys()]))];
    const lines = [[this.#title, ...columns]];
    for (const [row, cells] of this.#rows)
      lines.push([row, ...columns.map((column) => cells.get(column) ?? "")]);
    const widths =
      lines[0]?.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0))) ?? [];
    const text = lines.map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    );
    process.stdout.write(`\n${text.join("\n")}\n`);
  }
}
