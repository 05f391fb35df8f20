import { badRequest } from "./operations.ts";

/**
 * Rules of AWS for single values that are in its documents but in no model. Sources: the developer
 * guide and the descriptions of the models.
 */

export function length(what: string, value: string | undefined, least: number, most: number): void {
  if (value === undefined) return;
  if (value.length < least || value.length > most)
    throw badRequest(`${what} must have a length from ${least} to ${most}`);
}

export function form(what: string, value: string | undefined, expression: RegExp): void {
  if (value !== undefined && !expression.test(value)) throw badRequest(`Invalid ${what}: ${value}`);
}

export function oneOf(what: string, value: string | undefined, allowed: readonly string[]): void {
  if (value !== undefined && !allowed.includes(value))
    throw badRequest(`${what} must be one of ${allowed.join(", ")}, not ${value}`);
}

export function absent(what: string, values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values))
    if (value !== undefined) throw badRequest(`${name} is not supported for ${what}`);
}

export function tags(values: Readonly<Record<string, string>> | undefined): void {
  const entries = Object.entries(values ?? {});
  if (entries.length > 50) throw badRequest("A resource has at most 50 tags");
  for (const [key, value] of entries) {
    length("a tag's key", key, 1, 128);
    length("a tag's value", value, 0, 256);
    form("tag", key + value, /^[\p{L}\p{Z}\p{N}_.:/=+@-]*$/u);
    if (key.startsWith("aws:")) throw badRequest("Tags that begin with aws: are reserved");
  }
}

const SOURCES =
  /^(context\.[A-Za-z0-9._$-]+|stageVariables\.[A-Za-z0-9_]+|'[^']*'|route\.request\.body(\.[A-Za-z0-9._$[\]-]+)?)$/;
const CONNECT_SOURCES =
  /^route\.request\.(header|querystring|multivalueheader|multivaluequerystring)\.[A-Za-z0-9._$-]+$/;

/** Checks the request mapping of an integration. Headers of the client exist only on `$connect`. */
export function requestParameters(values: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(values)) {
    form("mapping expression", key, /^integration\.request\.(header|querystring|path)\.[A-Za-z0-9._$-]+$/);
    if (/\.(content-length|transfer-encoding|x-amzn-trace-id|x-amzn-apigateway-api-id)$/i.test(key))
      throw badRequest(`${key} may not be mapped`);
    length(`the value of ${key}`, value, 1, 512);
    if (!SOURCES.test(value) && !CONNECT_SOURCES.test(value))
      throw badRequest(`Invalid mapping expression specified: ${value}`);
  }
}

export function stageVariables(values: Readonly<Record<string, string>>): void {
  const entries = Object.entries(values);
  if (entries.length > 100) throw badRequest("A stage has at most 100 variables");
  for (const [key, value] of entries) {
    form("stage variable name", key, /^[A-Za-z0-9_]{1,64}$/);
    form("stage variable value", value, /^[A-Za-z0-9\-._~:/?#&=,]{1,512}$/);
  }
}

export function integrationUri(uri: string | undefined, type: string): void {
  length("IntegrationUri", uri, 1, 2048);
  if (type === "AWS_PROXY") {
    form(
      "function URI",
      uri ?? "",
      /^arn:aws[a-z-]*:apigateway:[a-z0-9-]+:lambda:path\/2015-03-31\/functions\/arn:aws[a-z-]*:lambda:[^/]+\/invocations$/,
    );
    return;
  }
  const plain = (uri ?? "").replace(/\$\{stageVariables\.[A-Za-z0-9_]+\}/g, "x");
  form("HTTP endpoint", plain, /^https?:\/\/[A-Za-z0-9.-]+(:\d+)?(\/[^\s]*)?$/);
}
