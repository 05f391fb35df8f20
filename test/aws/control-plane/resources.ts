import { randomInt } from "node:crypto";
import { badRequest, notFound } from "./operations.ts";

/**
 * How an update changes a map. AWS merges the entries. Other implementations, such as moto, replace
 * the map, and some keep empty entries.
 */
export type MapUpdates = "merge" | "replace";

/**
 * Changes a resource as AWS does. An absent member does not change, and "" clears it. In a map, ""
 * removes an entry, and an empty map clears nothing. Source: observed on AWS by others, not
 * documented.
 */
export function merged<Resource extends object>(
  resource: Resource,
  changes: Partial<Resource>,
  maps: readonly (keyof Resource)[] = [],
  updates: MapUpdates = "merge",
): Resource {
  const next = { ...resource };
  for (const [name, value] of Object.entries(changes) as [keyof Resource, Resource[keyof Resource]][]) {
    if (value === undefined) continue;
    if (value === "") delete next[name];
    else if (maps.includes(name) && updates === "merge") {
      const entries = Object.entries({ ...(next[name] as object), ...(value as object) });
      next[name] = Object.fromEntries(entries.filter(([, item]) => item !== "")) as never;
    } else next[name] = value;
  }
  return next;
}

export function found<Item>(items: ReadonlyMap<string, Item>, id: string | undefined, what: string): Item {
  const item = items.get(id ?? "");
  if (item === undefined) throw notFound(`Invalid ${what} identifier specified ${id}`);
  return item;
}

const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";

export function newId(length: number): string {
  return Array.from({ length }, () => LETTERS[randomInt(LETTERS.length)]).join("");
}

/** Returns a page of a list, and the token of the next page. */
export function paged<Item>(
  items: readonly Item[],
  pageSize: number,
  { MaxResults, NextToken }: { MaxResults?: string | undefined; NextToken?: string | undefined },
): { Items: Item[]; NextToken?: string } {
  const start = NextToken === undefined ? 0 : Number(Buffer.from(NextToken, "base64").toString());
  if (!Number.isInteger(start)) throw badRequest("Invalid NextToken");
  const end = start + Math.min(pageSize, Number(MaxResults ?? pageSize));
  const next = end < items.length ? { NextToken: Buffer.from(String(end)).toString("base64") } : {};
  return { Items: items.slice(start, end), ...next };
}
