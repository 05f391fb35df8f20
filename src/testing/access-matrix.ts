import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import type { Permission } from "../permissions/define.ts";
import type { Sallyport } from "../sallyport.ts";
import { createTestApp } from "./test-app.ts";

/** Somebody to ask about: nobody (null), a signed-in user with these permissions, or a superuser. */
export type Role = null | readonly Permission[] | "superuser";

/** `data`: the rules say yes, and a hook about the data itself has the last word. */
export type Cell = "yes" | "data" | "no";

export interface AccessRow {
  /** `/ws/chat`, `/ws/chat send_message`, `channel rooms/:slug`, `sending to rooms/:slug`. */
  readonly name: string;
  readonly access: Readonly<Record<string, Cell>>;
}

/** Who may do what, role by role. */
export interface AccessMatrix {
  readonly roles: readonly string[];
  readonly rows: readonly AccessRow[];
  /** The table as text, one line a row: made to be kept and compared. */
  toString(): string;
}

/**
 * Asks for each role what it reaches: every view, handler and channel of the app, by the rules that are declared.
 *
 * @param roles name → who: `{ visitor: null, member: [chat.can_use_chat], root: "superuser" }`
 */
export async function accessMatrix(
  app: Sallyport,
  roles: Readonly<Record<string, Role>>,
): Promise<AccessMatrix> {
  const harness = await createTestApp(app);
  try {
    const { access } = harness.sallyport;
    const rows = new Map<string, Record<string, Cell>>();
    const put = (name: string, role: string, allowed: boolean, asksData: boolean) => {
      const row = rows.get(name) ?? {};
      row[role] = allowed ? (asksData ? "data" : "yes") : "no";
      rows.set(name, row);
    };
    for (const [role, who] of Object.entries(roles)) {
      if (who === "superuser") await access.setSuperuser(role, true);
      else if (who !== null) {
        await access.setActive(role, true);
        for (const permission of who) await access.grant(role, permission);
      }
      const { views, channels } = await access.whatCan(who === null ? null : role);
      for (const { path, allowed, handlers } of views) {
        put(path, role, allowed, false);
        for (const handler of handlers)
          put(`${path} ${handler.name}`, role, handler.allowed, handler.asksData);
      }
      for (const { pattern, allowed, maySend, asksData } of channels) {
        put(`channel ${pattern}`, role, allowed, asksData);
        put(`sending to ${pattern}`, role, maySend, asksData);
      }
    }
    return matrixOf(
      Object.keys(roles),
      [...rows].map(([name, cells]) => ({ name, access: cells })),
    );
  } finally {
    await harness.close();
  }
}

/**
 * Compares a matrix with the table in a file, and fails when access has widened: somebody may now do what the table
 * says they may not. A table that is missing is written. One that has become stricter or only different in shape is written
 * anew, but with `CI` set in the environment it fails, since nobody would commit it there.
 *
 * @param file path of the table; `UPDATE_ACCESS_MATRIX=1` writes it whatever changed
 * @throws Error that names each cell that widened
 */
export async function expectAccessMatrix(matrix: AccessMatrix, file: string): Promise<void> {
  const text = matrix.toString();
  const kept = existsSync(file) ? await readFile(file, "utf8") : undefined;
  if (kept === text) return;
  const update = Boolean(process.env.UPDATE_ACCESS_MATRIX);
  const widened = kept === undefined || update ? [] : widenings(matrix, parse(kept));
  if (widened.length > 0) {
    throw new Error(
      `Access has widened against ${file}:\n${widened.map((line) => `  ${line}\n`).join("")}` +
        "If that is meant, run again with UPDATE_ACCESS_MATRIX=1 and have the table reviewed.",
    );
  }
  if (process.env.CI && !update) {
    throw new Error(
      `${file} is ${kept === undefined ? "missing" : "out of date"}. Run the tests at your desk and commit it.`,
    );
  }
  await writeFile(file, text);
}

const RANK: Readonly<Record<Cell, number>> = { no: 0, data: 1, yes: 2 };

function widenings(matrix: AccessMatrix, kept: ReadonlyMap<string, ReadonlyMap<string, Cell>>): string[] {
  return matrix.rows.flatMap(({ name, access }) =>
    matrix.roles.flatMap((role) => {
      const [was, is] = [kept.get(name)?.get(role) ?? "no", access[role] ?? "no"];
      return RANK[is] > (RANK[was] ?? RANK.no) ? [`${role}: ${name}: ${was} → ${is}`] : [];
    }),
  );
}

function matrixOf(roles: readonly string[], rows: readonly AccessRow[]): AccessMatrix {
  return {
    roles,
    rows,
    toString() {
      const lines = [
        ["", ...roles],
        ...rows.map(({ name, access }) => [name, ...roles.map((role) => access[role] ?? "no")]),
      ];
      const widths = ["", ...roles].map((_, column) =>
        Math.max(...lines.map((line) => line[column]?.length ?? 0)),
      );
      return lines
        .map(
          (line) =>
            `${line
              .map((cell, column) => cell.padEnd(widths[column] ?? 0))
              .join(" | ")
              .trimEnd()}\n`,
        )
        .join("");
    },
  };
}

function parse(text: string): ReadonlyMap<string, ReadonlyMap<string, Cell>> {
  const [header = [], ...lines] = text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => line.split("|").map((cell) => cell.trim()));
  return new Map(
    lines.map(([name = "", ...cells]) => [
      name,
      new Map(cells.map((cell, index) => [header[index + 1] ?? "", cell as Cell])),
    ]),
  );
}
