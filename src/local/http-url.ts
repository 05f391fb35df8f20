import type { GatewayEvent } from "./events.ts";
import type { Parameters } from "./parameters.ts";
import { encoded } from "./url.ts";

const VARIABLE = /\$\{stageVariables\.([A-Za-z0-9_]+)\}/g;

/**
 * Matches path segments that change the path, because servers remove them and segments before them.
 */
const CHANGES_PATH = /^(\.|%2e){0,2}$/i;

/**
 * Returns the URL of an HTTP integration. It contains the stage variables and the mapped path
 * parameters.
 *
 * Its query is followed by the query of the client, on `$connect`, and by the mapped query
 * parameters.
 *
 * @throws Error for a variable that the stage does not have, and for a path segment that would
 *   become "", "." or ".."
 */
export function httpUrl(
  event: GatewayEvent,
  uri: string,
  { path: mappedPath, query: mappedQuery }: Pick<Parameters, "path" | "query">,
): URL {
  const filled = uri.replace(VARIABLE, (_, name: string) => {
    const value = event.place.stageVariables[name];
    if (value === undefined) {
      throw new Error(
        `The stage has no variable "${name}", which the URL contains. Add it to the variables of the stage.`,
      );
    }
    return value;
  });
  const [, beforeQuery = "", fromQuery = ""] = /^([^?#]*)(.*)$/s.exec(filled) ?? [];
  const fill = (text: string) =>
    mappedPath.reduce(
      (result, { name, source }) => result.replaceAll(`{${name}}`, encoded(source(event) ?? "")),
      text,
    );
  const parts = beforeQuery.split("/").map((part) => {
    const segment = fill(part);
    if (segment !== part && CHANGES_PATH.test(segment)) {
      throw new Error(
        `The path segment "${part}" would become "${segment}", which would change the path. Map another value.`,
      );
    }
    return segment;
  });
  const url = new URL(parts.join("/") + fill(fromQuery));
  const queries = [url.search.slice(1), event.kind === "connect" ? event.client.query : ""];
  for (const { name, source } of mappedQuery) {
    const value = source(event);
    if (value !== undefined) queries.push(`${encoded(name)}=${encoded(value)}`);
  }
  const query = queries.filter(Boolean).join("&");
  // Set only if there is a query, which stays unescaped and in its order.
  if (query !== "") url.search = query;
  return url;
}
