import { createHash } from "node:crypto";
import type { Api } from "@aws-sdk/client-apigatewayv2";
import { CONTEXT_HEADERS, SECRET_HEADER } from "../../protocol/gateway-call.ts";
import { partitionOf, suffixOf } from "../../protocol/partitions.ts";
import type { Gateway } from "../../storage/stores/gateways.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { domainAddress } from "../definition-parts.ts";
import { GATEWAY_TAG } from "../names.ts";
import { functionsOf, type Target, urlOfTarget } from "../targets.ts";

/** An integration as it must exist at AWS, with the names of the AWS API. */
export interface DesiredIntegration {
  readonly IntegrationType: "HTTP_PROXY" | "AWS_PROXY";
  readonly IntegrationMethod: "POST";
  readonly IntegrationUri: string;
  readonly ConnectionType: "INTERNET";
  readonly PassthroughBehavior: "WHEN_NO_MATCH";
  readonly PayloadFormatVersion: "1.0";
  readonly TimeoutInMillis: number;
  readonly Description: string;
  readonly RequestParameters: Readonly<Record<string, string>>;
}

/** A route as it must exist at AWS. */
export interface DesiredRoute {
  readonly key: string;
  readonly integration: DesiredIntegration;
  /** Whether the response of the backend is sent to the client, as a route response. */
  readonly isAnswered: boolean;
}

/** The API of a gateway as it must exist at AWS. */
export interface DesiredApi {
  readonly api: {
    readonly Name: string;
    readonly RouteSelectionExpression: string;
    readonly Description: string;
    readonly DisableExecuteApiEndpoint: boolean;
    readonly ApiKeySelectionExpression: string;
  };
  /** Tags of the stage. The API also has the tag with the id of the record. */
  readonly tags: Readonly<Record<string, string>>;
  readonly routes: readonly DesiredRoute[];
  /** ARNs of the functions that routes call. */
  readonly functions: readonly string[];
  /** A hash of all settings that take effect through a deployment. */
  readonly fingerprint: string;
}

/** The prefix of the descriptions of resources that Sallyport creates at AWS. */
const PREFIX = "sallyport";

/** The number of characters of a secret's hash in the description of a deployment. */
const HASH_LENGTH = 12;

/** Returns the description of the integration of a route. */
export function integrationDescription(routeKey: string): string {
  return `${PREFIX} ${routeKey}`;
}

/** Returns whether Sallyport created an integration with this description. */
export function isManagedIntegration(description: string | undefined): boolean {
  return description?.startsWith(`${PREFIX} `) === true;
}

/** Returns the description of a deployment: the fingerprint, and the start of the secret's hash. */
export function deploymentDescription(fingerprint: string, [newest = ""]: readonly string[]): string {
  return `${PREFIX} ${fingerprint} ${newest.slice(0, HASH_LENGTH)}`.trimEnd();
}

/**
 * Returns the hash of the secret that a deployment sends.
 *
 * @param hashes the possible hashes
 * @returns undefined if Sallyport did not create the deployment, or if no hash matches
 */
export function deployedHash(description: string | undefined, hashes: readonly string[]): string | undefined {
  const [, part] =
    new RegExp(`^${PREFIX} [0-9a-f]+ ([0-9a-f]{${HASH_LENGTH}})$`).exec(description ?? "") ?? [];
  return part === undefined ? undefined : hashes.find((hash) => hash.startsWith(part));
}

/**
 * Returns the API that AWS must have for a definition.
 *
 * @param secret the value of a static header on each HTTP integration, or undefined if all targets
 *   are functions
 */
export function desiredApi(definition: GatewayDefinition, secret: string | undefined): DesiredApi {
  const { name, description, routeSelectionExpression, disableExecuteApiEndpoint, tags } = definition;
  const { apiKeySelectionExpression } = definition;
  const api = {
    Name: name,
    RouteSelectionExpression: routeSelectionExpression,
    Description: description,
    DisableExecuteApiEndpoint: disableExecuteApiEndpoint,
    ApiKeySelectionExpression: apiKeySelectionExpression,
  };
  const route = (key: string, target: Target, isMessage: boolean): DesiredRoute => ({
    key,
    integration: desiredIntegration(definition, key, target, secret),
    isAnswered: isMessage && definition.replies === "route",
  });
  const below = (route: string): Target =>
    typeof definition.target === "string" ? `${definition.target}/${route}` : definition.target;
  const routes = [
    route("$connect", below("connect"), false),
    route("$disconnect", below("disconnect"), false),
    route("$default", below("default"), true),
    ...[...definition.routes].map(([key, target]) => route(key, target, true)),
  ];
  const { Name: _, Description: __, ...effective } = api;
  const deployed = [effective, routes];
  const fingerprint = createHash("sha256").update(JSON.stringify(deployed)).digest("hex").slice(0, 16);
  return {
    api,
    tags: { ...tags, [GATEWAY_TAG]: name },
    routes,
    functions: functionsOf(definition),
    fingerprint,
  };
}

/**
 * Returns whether any target of a gateway is called by URL. These calls are authenticated by a
 * secret. The calls of a function are authorized by its policy.
 */
export function needsSecret({ target, routes }: GatewayDefinition): boolean {
  return [target, ...routes.values()].some((each) => urlOfTarget(each) !== undefined);
}

function desiredIntegration(
  { region, timeoutMs }: GatewayDefinition,
  key: string,
  target: Target,
  secret: string | undefined,
): DesiredIntegration {
  const common = {
    IntegrationMethod: "POST",
    ConnectionType: "INTERNET",
    PassthroughBehavior: "WHEN_NO_MATCH",
    PayloadFormatVersion: "1.0",
    TimeoutInMillis: timeoutMs,
    Description: integrationDescription(key),
  } as const;
  if (typeof target === "string" || "service" in target) {
    return {
      ...common,
      IntegrationType: "HTTP_PROXY",
      IntegrationUri: typeof target === "string" ? target : target.service,
      RequestParameters: requestParameters(secret),
    };
  }
  return {
    ...common,
    IntegrationType: "AWS_PROXY",
    IntegrationUri: `arn:${partitionOf(region)}:apigateway:${region}:lambda:path/2015-03-31/functions/${target.lambda}/invocations`,
    // The event of a function contains the context already.
    RequestParameters: {},
  };
}

export const SECRET_PARAMETER = `integration.request.header.${SECRET_HEADER}`;

/**
 * Returns the headers, which are the same on every integration. A client could set a header itself
 * at `$connect` if an integration did not map it.
 */
function requestParameters(secret: string | undefined): Readonly<Record<string, string>> {
  const headers = Object.entries(CONTEXT_HEADERS).map(([name, variable]) => {
    return [`integration.request.header.${name}`, variable] as const;
  });
  const secretHeader = secret === undefined ? [] : [[SECRET_PARAMETER, `'${secret}'`] as const];
  return Object.fromEntries([...headers, ...secretHeader]);
}

/**
 * Returns the base URL of the Management API. The URL of a custom domain contains no stage.
 *
 * @param api the API, with the endpoint that AWS returned:
 *   `wss://<api>.execute-api.<region>.amazonaws.com`
 * @param record the record. Its domain is kept while the definition contains it, because another
 *   domain can be without a DNS record.
 */
export function endpointOf(
  { domains, disableExecuteApiEndpoint, stage, region }: GatewayDefinition,
  { ApiId = "", ApiEndpoint = "" }: Pick<Api, "ApiId" | "ApiEndpoint">,
  record: Gateway | undefined,
): string {
  const endpoints = domains.map((domain) => `https://${domainAddress(domain)}`);
  if (disableExecuteApiEndpoint) {
    const chosen = endpoints.find((endpoint) => endpoint === record?.endpoint) ?? endpoints[0];
    if (chosen !== undefined) return chosen;
  }
  const host =
    ApiEndpoint === "" ? `${ApiId}.execute-api.${region}.${suffixOf(region)}` : new URL(ApiEndpoint).host;
  return `https://${host}/${stage}`;
}

/** Returns the URL that browsers connect to. */
export function urlOf(definition: GatewayDefinition, api: Pick<Api, "ApiId" | "ApiEndpoint">): string {
  const [domain] = definition.domains;
  if (domain) return `wss://${domainAddress(domain)}`;
  return endpointOf(definition, api, undefined).replace(/^https:/, "wss:");
}
