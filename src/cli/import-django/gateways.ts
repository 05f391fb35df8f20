import { defineGateway, type GatewayOptions } from "../../aws.ts";
import { ConfigurationError } from "../../errors.ts";
import { INTERNAL } from "../../internal.ts";
import type { Sallyport } from "../../sallyport.ts";
import type { DjangoDatabase, TextRow } from "./database.ts";
import { pagesOf } from "./pages.ts";
import type { Tally } from "./tally.ts";

const APP = "django_aws_api_gateway_websockets";
const GATEWAYS = `${APP}_apigateway`;
const ROUTES = `${APP}_apigatewayadditionalroute`;
/** The maximum number of gateways. An AWS account has far fewer. */
const MAX_GATEWAYS = 1000;

/** Tables of the package with rows that have no counterpart, and why. */
const SHORT_LIVED: Readonly<Record<string, string>> = {
  [`${APP}_websockettoken`]: "tokens are valid for one minute. Clients request new ones",
  [`${APP}_websocketsession`]: "connections end at the switch. Clients connect again",
  [`${APP}_connectionratelimit`]: "counts of the last minute. Sallyport has its own limits",
};

/** Fields of a gateway that have no counterpart if they are not empty, and what replaces them. */
const DROPPED_FIELDS: Readonly<Record<string, string>> = {
  default_channel_name: "default_channel_name: set defaultChannel in the view",
  hosted_zone_id: "hosted_zone_id: create the DNS record yourself",
};

const GATEWAY_FIELDS = [
  "api_name",
  "api_description",
  "domain_name",
  "target_base_endpoint",
  "certificate_arn",
  "api_key_selection_expression",
  "route_selection_expression",
  "stage_name",
  "tags",
  "api_id",
  "api_endpoint",
  ...Object.keys(DROPPED_FIELDS),
] as const;

/** A gateway of Django as code of Sallyport. */
export interface ImportedGateway {
  readonly name: string;
  readonly apiId: string | null;
  readonly options: GatewayOptions;
  /** Whether the app defines a gateway with this name already. */
  readonly isDefined: boolean;
  /** Fields that are not imported, and what replaces them. */
  readonly dropped: readonly string[];
}

/** What an import found of the Python package. */
export interface PackageReport {
  readonly gateways: readonly ImportedGateway[];
  /** Sentences about tables that are not imported. */
  readonly notImported: readonly string[];
}

/**
 * Reads the gateways and routes of the Python package. A gateway of Sallyport is code, so nothing is
 * written.
 */
export async function readPackage(
  sallyport: Sallyport,
  database: DjangoDatabase,
  tally: Tally,
): Promise<PackageReport> {
  const gateways = await readGateways(sallyport, database, tally);
  const notImported = gateways.flatMap(({ name, dropped }) =>
    dropped.map((field) => `gateway ${JSON.stringify(name)}, ${field}`),
  );
  for (const [table, reason] of Object.entries(SHORT_LIVED)) {
    if ((await database.columns(table)).length === 0) continue;
    const rows = await database.count(table);
    if (rows > 0) notImported.push(`${table} (${rows} ${rows === 1 ? "row" : "rows"}): ${reason}`);
  }
  return { gateways, notImported };
}

async function readGateways(
  sallyport: Sallyport,
  database: DjangoDatabase,
  tally: Tally,
): Promise<readonly ImportedGateway[]> {
  const columns = new Set((await database.columns(GATEWAYS)).map(({ name }) => name));
  if (!columns.has("id") || !columns.has("api_name")) return [];
  const values = Object.fromEntries(
    GATEWAY_FIELDS.filter((field) => columns.has(field)).map((field) => [field, `t."${field}"`]),
  );
  const found: ImportedGateway[] = [];
  const routes = await readRoutes(database);
  for await (const page of pagesOf(database, { values, from: `"${GATEWAYS}" as t`, key: "id" })) {
    for (const { key, values: row } of page) {
      const gateway = gatewayOf(sallyport, row, routes.get(key) ?? [], tally);
      if (gateway) found.push(gateway);
    }
    if (found.length > MAX_GATEWAYS) {
      throw new ConfigurationError(
        `The table ${GATEWAYS} has more than ${MAX_GATEWAYS} gateways. Remove those that are not used.`,
      );
    }
  }
  return found;
}

/** Returns the routes of each gateway, by its primary key. */
async function readRoutes(database: DjangoDatabase): Promise<ReadonlyMap<string, readonly TextRow[]>> {
  const columns = new Set((await database.columns(ROUTES)).map(({ name }) => name));
  const routes = new Map<string, TextRow[]>();
  if (!["id", "api_gateway_id", "route_key", "integration_url"].every((name) => columns.has(name)))
    return routes;
  const pages = pagesOf(database, {
    values: { gateway: "t.api_gateway_id", key: "t.route_key", url: "t.integration_url" },
    from: `"${ROUTES}" as t`,
    key: "id",
  });
  let count = 0;
  for await (const page of pages) {
    for (const { values } of page) {
      const gateway = values.gateway ?? "";
      routes.set(gateway, [...(routes.get(gateway) ?? []), values]);
    }
    count += page.length;
    if (count > MAX_GATEWAYS * MAX_GATEWAYS)
      throw new ConfigurationError(`The table ${ROUTES} has too many rows. Remove those that are not used.`);
  }
  return routes;
}

function gatewayOf(
  sallyport: Sallyport,
  row: TextRow,
  routes: readonly TextRow[],
  tally: Tally,
): ImportedGateway | undefined {
  const name = row.api_name ?? "";
  const base = optionsOf(row);
  const failure = reasonAgainst(base);
  if (failure !== undefined) {
    tally.note("gateways", "skipped", failure, name);
    for (const { key } of routes)
      tally.note("routes", "skipped", "its gateway is skipped", `${name}: ${key}`);
    return undefined;
  }
  const accepted: (readonly [string, string])[] = [];
  for (const { key, url } of routes) {
    const route = [key ?? "", url ?? ""] as const;
    const reason = reasonAgainst({ ...base, routes: Object.fromEntries([route]) });
    if (reason === undefined) accepted.push(route);
    else tally.note("routes", "skipped", reason, `${name}: ${key}`);
  }
  const options = accepted.length === 0 ? base : { ...base, routes: Object.fromEntries(accepted) };
  const defined = sallyport[INTERNAL].provisioning.definitions.get(name);
  tally.count("gateways", defined ? "kept" : "printed");
  for (const [key] of accepted) tally.count("routes", defined?.routes.has(key) ? "kept" : "printed");
  const dropped = Object.entries(DROPPED_FIELDS).flatMap(([field, advice]) => (row[field] ? [advice] : []));
  return { name, apiId: apiIdOf(row.api_id), options, isDefined: defined !== undefined, dropped };
}

/** The id is printed in a command, so only the characters of AWS are accepted. */
function apiIdOf(text: string | null | undefined): string | null {
  return text && /^[A-Za-z0-9]{1,32}$/.test(text) ? text : null;
}

/** Returns the options of a gateway without its routes. */
function optionsOf(row: TextRow): GatewayOptions {
  const {
    api_name: name,
    api_endpoint: endpoint,
    certificate_arn: certificateArn,
    domain_name: domain,
  } = row;
  const given = {
    name: name ?? "",
    region: regionOf(endpoint) ?? certificateArn?.split(":")[3] ?? "",
    stage: row.stage_name ?? "",
    target: (row.target_base_endpoint ?? "").replace(/\/+$/, ""),
    ...(row.api_description ? { description: row.api_description } : {}),
    ...(domain && certificateArn ? { domain: { name: domain.toLowerCase(), certificateArn } } : {}),
    ...(row.tags ? { tags: tagsOf(row.tags) } : {}),
  };
  return {
    ...given,
    ...different("routeSelectionExpression", row.route_selection_expression, "$request.body.action"),
    ...different("apiKeySelectionExpression", row.api_key_selection_expression, "$request.header.x-api-key"),
  } as GatewayOptions;
}

/** Returns an option, unless it has its default. */
function different(name: string, value: string | null | undefined, byDefault: string) {
  return value && value !== byDefault ? { [name]: value } : {};
}

function regionOf(endpoint: string | null | undefined): string | undefined {
  return /\.execute-api\.([a-z0-9-]+)\.amazonaws\.com/.exec(endpoint ?? "")?.[1];
}

function tagsOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/**
 * Returns why a gateway cannot be defined, or undefined if it can. The views are checked when the app
 * lists it.
 */
function reasonAgainst(options: GatewayOptions): string | undefined {
  if (options.region === "") {
    return "its region is not stored, because the API was not created. Write defineGateway() yourself";
  }
  try {
    const { routes } = defineGateway(options);
    const dropped = Object.keys(options.routes ?? {}).find((key) => !routes.has(key));
    return dropped === undefined ? undefined : `a route cannot have the key ${JSON.stringify(dropped)}`;
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message.replace(/\.$/, "");
    throw error;
  }
}

/** Returns the code and the command for each gateway that the app does not define. */
export function gatewayLines(gateways: readonly ImportedGateway[]): readonly string[] {
  const missing = gateways.filter(({ isDefined }) => !isDefined);
  if (missing.length === 0) return [];
  return [
    "Add these gateways to the option gateways of createSallyport():",
    ...missing.flatMap(({ options }) => `  defineGateway(${JSON.stringify(options, null, 2)}),`.split("\n")),
    ...missing.flatMap(({ name, apiId }) =>
      apiId === null
        ? []
        : [`Then assign the existing API: npx sallyport gateway import ${JSON.stringify(name)} ${apiId}`],
    ),
  ];
}
