import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { applyEdits, modify, type ParseError, parse } from "jsonc-parser";
import { ConfigurationError } from "../../errors.ts";
import type { FileChange } from "./plan.ts";

/** A value of a JSON file and the keys that lead to it. */
export type JsonValue = readonly [keys: readonly string[], value: unknown];

/** Returns the line break of a text. */
const lineBreakOf = (text: string) => (text.includes("\r\n") ? "\r\n" : "\n");

/** Adds lines to the end of a file, which is created if it does not exist. */
export async function addLines(
  folder: string,
  path: string,
  lines: readonly string[],
  hasThem: (text: string) => boolean,
): Promise<FileChange | undefined> {
  const file = join(folder, path);
  const text = existsSync(file) ? await readFile(file, "utf8") : undefined;
  if (text !== undefined && hasThem(text)) return undefined;
  const end = lineBreakOf(text ?? "");
  const separator = text === undefined || text === "" || text.endsWith("\n") ? "" : end;
  return {
    path,
    text: `${text ?? ""}${separator}${lines.join(end)}${end}`,
    added: text === undefined ? undefined : lines,
  };
}

/** Sets values of a JSON file, and keeps its comments and its format. */
export async function setValues(
  folder: string,
  path: string,
  values: readonly JsonValue[],
): Promise<FileChange | undefined> {
  if (values.length === 0) return undefined;
  const original = await readFile(join(folder, path), "utf8");
  const mark = original.startsWith("\uFEFF") ? "\uFEFF" : "";
  let text = original.slice(mark.length);
  const tabs = /^\t/m.test(text);
  const spaces = /^( +)"/m.exec(text)?.[1]?.length ?? 2;
  const formattingOptions = { insertSpaces: !tabs, tabSize: spaces, eol: lineBreakOf(text) };
  for (const [keys, value] of values) {
    text = applyEdits(text, modify(text, [...keys], value, { formattingOptions }));
  }
  const added = values.map(([keys, value]) => `${keys.join(".")}: ${JSON.stringify(value)}`);
  return { path, text: `${mark}${text}`, added };
}

/** @throws ConfigurationError if the file does not contain a JSON object */
export async function readJson(file: string): Promise<object> {
  const errors: ParseError[] = [];
  // npm accepts a byte order mark.
  const text = (await readFile(file, "utf8")).replace(/^\uFEFF/, "");
  const value: unknown = parse(text, errors, { allowTrailingComma: true });
  if (errors.length > 0) {
    throw new ConfigurationError(`${file} is not valid JSON. Correct ${basename(file)} first.`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new ConfigurationError(`${file} contains no JSON object. Correct ${basename(file)} first.`);
}

/**
 * Returns whether a .gitignore excludes a file or a folder of its own folder. The last pattern that
 * matches decides, as in Git.
 *
 * @param name the name, with a slash at the end if it is a folder
 */
export function isIgnored(gitignore: string, name: string): boolean {
  const isFolder = name.endsWith("/");
  let ignored = false;
  for (const line of gitignore.split(/\r?\n/).map((each) => each.trimEnd())) {
    if (line === "" || line.startsWith("#")) continue;
    const isException = line.startsWith("!");
    let pattern = line.replace(/^!/, "").replace(/^(?:\*\*)?\//, "");
    if (isFolder) pattern = pattern.replace(/\/\*{0,2}$/, "");
    if (globOf(pattern).test(name.replace(/\/$/, ""))) ignored = !isException;
  }
  return ignored;
}

function globOf(pattern: string): RegExp {
  const source = pattern
    .replaceAll(/[.+^${}()|\\]/g, "\\$&")
    .replaceAll(/\*+/g, "[^/]*")
    .replaceAll("?", "[^/]");
  try {
    return new RegExp(`^${source}$`);
  } catch {
    // The pattern contains brackets that are not a class of characters.
    return /^(?!)/;
  }
}
