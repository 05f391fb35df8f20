import { ConfigurationError } from "../errors.ts";
import { find, parsePath } from "./json-path.ts";

type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "path"; readonly path: readonly string[] };

/**
 * Selects the route of a message by a route selection expression.
 *
 * It supports a single `$request.body.a.b`, `${request.body.a}` between literal text, `[0]` in a
 * path, and `\$` for a dollar sign.
 *
 * Source: AWS developer guide, "Selection expressions for WebSocket APIs".
 */
export class RouteSelection {
  readonly #parts: readonly Part[];
  readonly #keys: ReadonlySet<string>;

  /** @throws ConfigurationError for an expression that the local gateway cannot evaluate */
  constructor(expression: string, keys: Iterable<string>) {
    this.#parts = parse(expression);
    this.#keys = new Set(keys);
  }

  /**
   * Returns the custom route key that a message selects, or `$default`.
   *
   * Text that is not JSON, and values that are nested too deeply, select `$default`. A message
   * cannot select `$connect` or `$disconnect`.
   */
  select(message: Buffer): string {
    if (this.#keys.size === 0) return "$default";
    try {
      const body: unknown = JSON.parse(message.toString("utf8"));
      const selected = this.#parts
        .map((part) => (part.kind === "text" ? part.text : asText(find(body, part.path))))
        .join("");
      return this.#keys.has(selected) ? selected : "$default";
    } catch {
      return "$default";
    }
  }
}

function parse(expression: string): Part[] {
  const single = /^\$request\.body\.([^\s${}\\]+)$/.exec(expression);
  if (single?.[1]) return [{ kind: "path", path: checkedPath(single[1], expression) }];
  const parts: Part[] = [];
  for (const [token, path] of expression.matchAll(/\$\{request\.body\.([^\s${}\\]+)\}|\\[\s\S]|[\s\S]/g)) {
    if (path) parts.push({ kind: "path", path: checkedPath(path, expression) });
    else if (token === "$") throw invalidExpression(expression);
    else parts.push({ kind: "text", text: token.startsWith("\\") ? token.slice(1) : token });
  }
  if (parts.length === 0) throw invalidExpression(expression);
  return parts;
}

function checkedPath(path: string, expression: string): readonly string[] {
  const names = parsePath(path);
  if (!names) throw invalidExpression(expression);
  return names;
}

function invalidExpression(expression: string): ConfigurationError {
  return new ConfigurationError(
    `routeSelectionExpression "${expression}" cannot be evaluated locally. Write "$request.body.action", or join "\${request.body.a}" with plain text.`,
  );
}

function asText(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  return Array.isArray(value) ? `[${value.map(asText).join(", ")}]` : JSON.stringify(value);
}
