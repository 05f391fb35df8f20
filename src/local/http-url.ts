import type { GatewayEvent } from "./events.ts";
import type { Parameters } from "./parameters.ts";
import { encoded } from "./url.ts";

const VARIABLE = /\$\{stageVariables\.([A-Za-z0-9_]+)\}/g;

/** A part of a path that is no place of its own: servers take such a one out, and one before it. */
const NO_PLACE = /^(\.|%2e){0,2}$/i;

/**
 * The URL of an HTTP integration's request: the stage's variables and the mapped parts of the path filled in, and behind its own query
 * the client's, on `$connect`, and what is mapped.
 *
 * @throws Error for a variable that the stage does not have, and for a part of the path that would be "", "." or ".."
 */
export function httpUrl(
  event: GatewayEvent,
  uri: string,
  { path: mappedPath, query: mappedQuery }: Pick<Parameters, "path" | "query">,
): URL {
  const filled = uri.replace(VARIABLE, (_, name: string) => {
    const value = event.place.stageVariables[name];
    if (value === undefined) throw new Error(`The stage has no variable "${name}", which the URL names.`);
    return value;
  });
  const [, beforeQuery = "", fromQuery = ""] = /^([^?#]*)(.*)$/s.exec(filled) ?? [];
  const fill = (text: string) =>
    mappedPath.reduce(
      (soFar, { name, source }) => soFar.replaceAll(`{${name}}`, encoded(source(event) ?? "")),
      text,
    );
  const parts = beforeQuery.split("/").map((part) => {
    const place = fill(part);
    if (place !== part && NO_PLACE.test(place))
      throw new Error(`The path's part "${part}" would be "${place}", which is no place of its own.`);
    return place;
  });
  const url = new URL(parts.join("/") + fill(fromQuery));
  const queries = [url.search.slice(1), event.kind === "connect" ? event.client.query : ""];
  for (const { name, source } of mappedQuery) {
    const value = source(event);
    if (value !== undefined) queries.push(`${encoded(name)}=${encoded(value)}`);
  }
  const query = queries.filter(Boolean).join("&");
  // Only where there is something to say: as it came, unescaped and in its order.
  if (query !== "") url.search = query;
  return url;
}
