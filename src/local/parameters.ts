import { ConfigurationError } from "../errors.ts";
import { type ConnectEvent, contextVariable, type GatewayEvent, isContextVariable } from "./events.ts";
import { find, parsePath } from "./json-path.ts";

/** Returns the value of a mapping for an event, or undefined if it has none. */
export type Source = (event: GatewayEvent) => string | undefined;

interface Parameter {
  readonly name: string;
  readonly source: Source;
}

/** The compiled `RequestParameters` of an integration. */
export interface Parameters {
  readonly headers: readonly Parameter[];
  readonly query: readonly Parameter[];
  readonly path: readonly Parameter[];
}

/**
 * The headers and query parameters of the client that a route declares, so that they can be mapped.
 * It is not known whether AWS enforces `required` here.
 */
export type DeclaredParameters = Readonly<Record<string, { readonly required: false }>>;

/**
 * Headers that cannot be mapped. Source: observed at AWS for REST APIs, and assumed for WebSocket
 * APIs.
 */
const NEVER_MAPPED = new Set([
  "content-length",
  "transfer-encoding",
  "x-amzn-trace-id",
  "x-amzn-apigateway-api-id",
]);

/** The maximum length of a mapping's value, in characters. */
const MAX_VALUE = 512;

/**
 * Compiles the mapping of an integration's request.
 *
 * The keys are `integration.request.{header|querystring|path}.NAME`. The values are a context
 * variable, a stage variable, a literal in single quotes, or a part of the message. On `$connect`
 * they can also be a header or query parameter of the client.
 *
 * Source: AWS developer guide, "Set up data mapping for WebSocket APIs".
 *
 * @throws ConfigurationError for a mapping that AWS would reject
 */
export function compileParameters(where: string, mapping: Readonly<Record<string, string>>): Parameters {
  const parameters = { headers: [] as Parameter[], query: [] as Parameter[], path: [] as Parameter[] };
  for (const [key, value] of Object.entries(mapping)) {
    const [, place, name = ""] =
      /^integration\.request\.(header|querystring|path)\.([A-Za-z0-9._$-]+)$/.exec(key) ?? [];
    const source = value.length <= MAX_VALUE ? compileSource(value) : undefined;
    if (place === undefined || source === undefined) {
      throw new ConfigurationError(
        `${where}: "${key}" cannot be mapped to ${JSON.stringify(value)}. Write "integration.request.header.name": "context.connectionId", "stageVariables.name", "'text'" or "route.request.body.field".`,
      );
    }
    if (place === "header" && NEVER_MAPPED.has(name.toLowerCase()))
      throw new ConfigurationError(
        `${where}: the header ${name} is set by API Gateway and cannot be mapped. Remove it.`,
      );
    const list = place === "header" ? "headers" : place === "path" ? "path" : "query";
    parameters[list].push({ name, source });
  }
  return parameters;
}

const CLIENT_PARAMETER = /^route\.request\.(?:multivalue)?(header|querystring)\.[A-Za-z0-9._$-]+$/;

/**
 * Checks that the route declares each mapped header and query parameter of the client, with one or
 * all of its values.
 *
 * @throws ConfigurationError for an undeclared parameter, and for an invalid declaration
 */
export function checkDeclared(
  where: string,
  mapping: Readonly<Record<string, string>>,
  declared: DeclaredParameters,
): void {
  for (const [key, { required }] of Object.entries(declared)) {
    if (!CLIENT_PARAMETER.test(key) || required !== false)
      throw new ConfigurationError(
        `${where}: "${key}" is not a valid declaration. Write "route.request.querystring.name" or "route.request.header.name": { required: false }.`,
      );
  }
  const singular = (key: string) => key.replace(".multivalue", ".");
  const known = new Set(Object.keys(declared).map(singular));
  const undeclared = Object.values(mapping).find(
    (value) => CLIENT_PARAMETER.test(value) && !known.has(singular(value)),
  );
  if (undeclared === undefined) return;
  throw new ConfigurationError(
    `${where}: "${undeclared}" is mapped but not declared. Write: requestParameters: { "${singular(undeclared)}": { required: false } }.`,
  );
}

/**
 * Checks that no header or query parameter of the client is mapped, because only `$connect` has
 * them.
 *
 * @throws ConfigurationError for such a mapping
 */
export function checkLater(where: string, mapping: Readonly<Record<string, string>>): void {
  const mapped = Object.values(mapping).find((value) => CLIENT_PARAMETER.test(value));
  if (mapped === undefined) return;
  throw new ConfigurationError(
    `${where}: "${mapped}" is a part of the client's request, which AWS maps on $connect only. Remove it.`,
  );
}

/** Compiles the value of a mapping. Returns undefined for a value that cannot be mapped. */
export function compileSource(value: string): Source | undefined {
  const literal = /^'([^']*)'$/.exec(value)?.[1];
  if (literal !== undefined) return () => literal;
  const [, kind, rest = ""] = /^(context|stageVariables|route\.request)\.(.+)$/.exec(value) ?? [];
  if (kind === "context")
    return isContextVariable(rest) ? (event) => contextVariable(event, rest) : undefined;
  if (kind === "stageVariables") {
    if (!/^[A-Za-z0-9_]{1,64}$/.test(rest)) return undefined;
    return ({ place }) => place.stageVariables[rest];
  }
  if (kind === undefined) return undefined;
  const [, what, name = ""] =
    /^(body|header|multivalueheader|querystring|multivaluequerystring)(?:\.(.+))?$/.exec(rest) ?? [];
  if (what === "body") return bodySource(name);
  if (what === undefined || !/^[A-Za-z0-9._$-]+$/.test(name)) return undefined;
  const isMany = what.startsWith("multivalue");
  return what.endsWith("header")
    ? clientSource((event) => headerValues(event.client.rawHeaders, name), isMany)
    : clientSource((event) => new URLSearchParams(event.client.query).getAll(name), isMany);
}

/** Returns the source of the whole message, or of the value at a path in it. */
function bodySource(path: string): Source | undefined {
  if (path === "") return (event) => (event.kind === "message" ? event.body.toString("utf8") : undefined);
  const names = parsePath(path);
  if (!names) return undefined;
  return (event) => {
    if (event.kind !== "message") return undefined;
    try {
      const value = find(JSON.parse(event.body.toString("utf8")), names);
      if (value === undefined || value === null) return undefined;
      return typeof value === "string" ? value : JSON.stringify(value);
    } catch {
      return undefined;
    }
  };
}

/**
 * Returns the source of a client parameter: all values, or the last one as in a function's event.
 */
function clientSource(values: (event: ConnectEvent) => readonly string[], isMany: boolean): Source {
  return (event) => {
    if (event.kind !== "connect") return undefined;
    const all = values(event);
    return isMany && all.length > 0 ? all.join(",") : all.at(-1);
  };
}

function headerValues(rawHeaders: readonly string[], name: string): readonly string[] {
  const lowerName = name.toLowerCase();
  return rawHeaders.filter(
    (_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === lowerName,
  );
}
