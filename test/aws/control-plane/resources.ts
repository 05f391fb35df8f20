import { randomInt } from "node:crypto";
import { badRequest, notFound } from "./operations.ts";

/**
 * What an update does with a map: AWS merges the entries. Other implementations, such as moto, replace the map, and some of them keep
 * entries that are empty.
 */
export type MapUpdates = "merge" | "replace";

/**
 * How AWS changes a resource: what is absent stays, "" clears, and in maps a key with "" goes; an empty map clears nothing.
 * Source: observed by others on AWS, written down in no document of its own.
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

/** A page of what is listed, and the way to the next. */
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
