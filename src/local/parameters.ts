import { ConfigurationError } from "../errors.ts";
import { type ConnectEvent, contextVariable, type GatewayEvent, isContextVariable } from "./events.ts";
import { find, parsePath } from "./json-path.ts";

/** Gives the value that a mapping has for an event, or undefined for none. */
export type Source = (event: GatewayEvent) => string | undefined;

interface Parameter {
  readonly name: string;
  readonly source: Source;
}

/** What an integration's `RequestParameters` say, compiled. */
export interface Parameters {
  readonly headers: readonly Parameter[];
  readonly query: readonly Parameter[];
  readonly path: readonly Parameter[];
}

/** What of the client's request a route declares, so that it may be mapped. That AWS enforces `required` here is not known. */
export type DeclaredParameters = Readonly<Record<string, { readonly required: false }>>;

/** Headers that may not be mapped. Source: observed at AWS for REST APIs; assumed here. */
const NEVER_MAPPED = new Set([
  "content-length",
  "transfer-encoding",
  "x-amzn-trace-id",
  "x-amzn-apigateway-api-id",
]);

/** Longest value of a mapping, in characters. */
const MAX_VALUE = 512;

/**
 * Compiles the mapping of an integration's request: `integration.request.{header|querystring|path}.NAME` to a context variable, a stage
 * variable, a literal in single quotes, a part of the message, or on `$connect` something of the client's.
 *
 * Source: AWS developer guide, "Set up data mapping for WebSocket APIs".
 *
 * @throws ConfigurationError for what AWS would refuse
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
      throw new ConfigurationError(`${where}: the header ${name} is API Gateway's own and cannot be mapped.`);
    const list = place === "header" ? "headers" : place === "path" ? "path" : "query";
    parameters[list].push({ name, source });
  }
  return parameters;
}

const OF_CLIENT = /^route\.request\.(?:multivalue)?(header|querystring)\.[A-Za-z0-9._$-]+$/;

/**
 * Whether all that is mapped of the client's request is declared by its route, by its one value or by all.
 *
 * @throws ConfigurationError for what is not, and for a declaration that is none
 */
export function checkDeclared(
  where: string,
  mapping: Readonly<Record<string, string>>,
  declared: DeclaredParameters,
): void {
  for (const [key, { required }] of Object.entries(declared)) {
    if (!OF_CLIENT.test(key) || required !== false)
      throw new ConfigurationError(
        `${where}: "${key}" declares nothing. Write "route.request.querystring.name" or "route.request.header.name": { required: false }.`,
      );
  }
  const one = (key: string) => key.replace(".multivalue", ".");
  const known = new Set(Object.keys(declared).map(one));
  const undeclared = Object.values(mapping).find((value) => OF_CLIENT.test(value) && !known.has(one(value)));
  if (undeclared === undefined) return;
  throw new ConfigurationError(
    `${where}: "${undeclared}" is mapped and not declared. Write: requestParameters: { "${one(undeclared)}": { required: false } }.`,
  );
}

/**
 * Whether nothing of the client's request is mapped, which only `$connect` knows.
 *
 * @throws ConfigurationError for what is
 */
export function checkLater(where: string, mapping: Readonly<Record<string, string>>): void {
  const stray = Object.values(mapping).find((value) => OF_CLIENT.test(value));
  if (stray === undefined) return;
  throw new ConfigurationError(
    `${where}: "${stray}" is the client's own request, which AWS maps on $connect alone.`,
  );
}

/** What may be mapped, compiled; undefined where it may not. */
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
  if (what === "body") return ofBody(name);
  if (what === undefined || !/^[A-Za-z0-9._$-]+$/.test(name)) return undefined;
  const isMany = what.startsWith("multivalue");
  return what.endsWith("header")
    ? ofClient((event) => headerValues(event.client.rawHeaders, name), isMany)
    : ofClient((event) => new URLSearchParams(event.client.query).getAll(name), isMany);
}

/** Of the message: all of it, or what a path leads to. */
function ofBody(path: string): Source | undefined {
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

/** Of several values the last one counts, as in a function's event, where not all do. */
function ofClient(values: (event: ConnectEvent) => readonly string[], isMany: boolean): Source {
  return (event) => {
    if (event.kind !== "connect") return undefined;
    const all = values(event);
    return isMany && all.length > 0 ? all.join(",") : all.at(-1);
  };
}

function headerValues(rawHeaders: readonly string[], name: string): readonly string[] {
  const wanted = name.toLowerCase();
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === wanted);
}
