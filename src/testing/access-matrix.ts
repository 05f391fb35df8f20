import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import type { Permission } from "../permissions/define.ts";
import type { Sallyport } from "../sallyport.ts";
import { createTestApp } from "./test-app.ts";

/**
 * A role: a client that is not signed in (`null`), a user with these permissions, or a superuser.
 */
export type Role = null | readonly Permission[] | "superuser";

/**
 * The access of a role. `data`: the rules allow it, and an `authorize` hook decides in addition.
 */
export type Cell = "yes" | "data" | "no";

/** The access of each role to one view, handler or channel. */
export interface AccessRow {
  /** `/ws/chat`, `/ws/chat send_message`, `channel rooms/:slug`, `sending to rooms/:slug`. */
  readonly name: string;
  /** Access by name of the role. */
  readonly access: Readonly<Record<string, Cell>>;
}

/** The access of each role to each view, handler and channel. */
export interface AccessMatrix {
  /** Names of the roles, in their order. */
  readonly roles: readonly string[];
  readonly rows: readonly AccessRow[];
  /** Returns the table as text with one line per row, to commit and compare. */
  toString(): string;
}

/**
 * Returns the access of each role to every view, handler and channel of an app, by the declared
 * rules.
 *
 * It uses an empty database in memory.
 *
 * @param roles roles by name: `{ visitor: null, member: [chat.can_use_chat], root: "superuser" }`
 */
export async function accessMatrix(
  app: Sallyport,
  roles: Readonly<Record<string, Role>>,
): Promise<AccessMatrix> {
  const testApp = await createTestApp(app);
  try {
    const { access } = testApp.sallyport;
    const rows = new Map<string, Record<string, Cell>>();
    const addCell = (name: string, role: string, allowed: boolean, hasAuthorize: boolean) => {
      const row = rows.get(name) ?? {};
      row[role] = allowed ? (hasAuthorize ? "data" : "yes") : "no";
      rows.set(name, row);
    };
    for (const [role, roleDefinition] of Object.entries(roles)) {
      if (roleDefinition === "superuser") await access.users.setSuperuser(role, true);
      else if (roleDefinition !== null) {
        await access.users.setActive(role, true);
        for (const permission of roleDefinition) await access.grant(role, permission);
      }
      const { views, channels } = await access.users.access(roleDefinition === null ? null : role);
      for (const { path, allowed, handlers } of views) {
        addCell(path, role, allowed, false);
        for (const handler of handlers)
          addCell(`${path} ${handler.name}`, role, handler.allowed, handler.hasAuthorize);
      }
      for (const { pattern, allowed, maySend, hasAuthorize } of channels) {
        addCell(`channel ${pattern}`, role, allowed, hasAuthorize);
        addCell(`sending to ${pattern}`, role, maySend, hasAuthorize);
      }
    }
    return matrixOf(
      Object.keys(roles),
      [...rows].map(([name, cells]) => ({ name, access: cells })),
    );
  } finally {
    await testApp.close();
  }
}

/**
 * Compares a matrix with the table in a file, and throws if access has widened.
 *
 * A missing table is written. A table that became stricter or has another shape is written again.
 * If the environment variable `CI` is set, these cases throw instead, because the file would not be
 * committed.
 *
 * @param file path of the table. With `UPDATE_ACCESS_MATRIX=1`, it is always written
 * @throws Error with each cell that widened
 */
export async function expectAccessMatrix(matrix: AccessMatrix, file: string): Promise<void> {
  const text = matrix.toString();
  const storedText = existsSync(file) ? await readFile(file, "utf8") : undefined;
  if (storedText === text) return;
  const update = Boolean(process.env.UPDATE_ACCESS_MATRIX);
  const widened = storedText === undefined || update ? [] : widenings(matrix, parse(storedText));
  if (widened.length > 0) {
    throw new Error(
      `Access is wider than in ${file}:\n${widened.map((line) => `  ${line}\n`).join("")}` +
        "If this is intended, run the test again with UPDATE_ACCESS_MATRIX=1, and review the table.",
    );
  }
  if (process.env.CI && !update) {
    throw new Error(
      `${file} is ${storedText === undefined ? "missing" : "out of date"}. Run the tests locally and commit the file.`,
    );
  }
  await writeFile(file, text);
}

const RANK: Readonly<Record<Cell, number>> = { no: 0, data: 1, yes: 2 };

function widenings(matrix: AccessMatrix, stored: ReadonlyMap<string, ReadonlyMap<string, Cell>>): string[] {
  return matrix.rows.flatMap(({ name, access }) =>
    matrix.roles.flatMap((role) => {
      const [before, after] = [stored.get(name)?.get(role) ?? "no", access[role] ?? "no"];
      return RANK[after] > (RANK[before] ?? RANK.no) ? [`${role}: ${name}: ${before} → ${after}`] : [];
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
