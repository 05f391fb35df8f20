import { createHash } from "node:crypto";
import type { Api } from "@aws-sdk/client-apigatewayv2";
import type { Gateway } from "../../auth/gateways.ts";
import { CONTEXT_HEADERS, SECRET_HEADER } from "../../protocol/gateway-call.ts";
import { suffixOf } from "../../protocol/partitions.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { domainAddress } from "../definition-parts.ts";
import { GATEWAY_TAG } from "../tags.ts";
import { functionsOf, type Target, urlOfTarget } from "../targets.ts";

/** An integration as AWS is to have it, in AWS's own words. */
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

export interface DesiredRoute {
  readonly key: string;
  readonly integration: DesiredIntegration;
  /** Whether what the backend answers reaches the socket. */
  readonly isAnswered: boolean;
}

/** What AWS is to have for a gateway. */
export interface DesiredApi {
  readonly api: {
    readonly Name: string;
    readonly RouteSelectionExpression: string;
    readonly Description: string;
    readonly DisableExecuteApiEndpoint: boolean;
    readonly ApiKeySelectionExpression: string;
  };
  /** Of the stage; the API has another one, which says whose it is. */
  readonly tags: Readonly<Record<string, string>>;
  readonly routes: readonly DesiredRoute[];
  /** ARNs of the functions that routes call. */
  readonly functions: readonly string[];
  /** Of all that takes effect by a deployment. */
  readonly fingerprint: string;
}

/** Descriptions of what we made at AWS begin so; what begins otherwise is somebody else's. */
const OURS = "sallyport";

/** Characters of a secret's hash that tell it from another. */
const HASH_LENGTH = 12;

export function integrationDescription(routeKey: string): string {
  return `${OURS} ${routeKey}`;
}

export function isOurIntegration(description: string | undefined): boolean {
  return description?.startsWith(`${OURS} `) === true;
}

/** Of a deployment: what it serves, and by which secret, in a few characters of its hash. */
export function deploymentDescription(fingerprint: string, [newest = ""]: readonly string[]): string {
  return `${OURS} ${fingerprint} ${newest.slice(0, HASH_LENGTH)}`.trimEnd();
}

/** Which of the hashes a deployment's secret has; undefined where it is none of ours, or none of these. */
export function deployedHash(description: string | undefined, hashes: readonly string[]): string | undefined {
  const [, part] = new RegExp(`^${OURS} [0-9a-f]+ ([0-9a-f]{${HASH_LENGTH}})$`).exec(description ?? "") ?? [];
  return part === undefined ? undefined : hashes.find((hash) => hash.startsWith(part));
}

/** @param secret mapped as a static header on each HTTP integration; undefined where functions serve everything */
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

/** Whether any call of a gateway is proved by a secret. Who may invoke a function says the function's own policy. */
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
  const [, partition = "aws"] = target.lambda.split(":");
  return {
    ...common,
    IntegrationType: "AWS_PROXY",
    IntegrationUri: `arn:${partition}:apigateway:${region}:lambda:path/2015-03-31/functions/${target.lambda}/invocations`,
    // A function's event says all of it.
    RequestParameters: {},
  };
}

export const SECRET_PARAMETER = `integration.request.header.${SECRET_HEADER}`;

/** The same on every integration: a header that only some of them mapped could come from a client at `$connect`. */
function requestParameters(secret: string | undefined): Readonly<Record<string, string>> {
  const headers = Object.entries(CONTEXT_HEADERS).map(([name, variable]) => {
    return [`integration.request.header.${name}`, variable] as const;
  });
  const proof = secret === undefined ? [] : [[SECRET_PARAMETER, `'${secret}'`] as const];
  return Object.fromEntries([...headers, ...proof]);
}

/**
 * Base of the Management API. A domain of one's own has no stage in its paths.
 *
 * @param api with the endpoint as AWS tells it: `wss://<api>.execute-api.<region>.amazonaws.com`
 * @param record a domain that it names is kept for as long as it is wanted: another one may not be in DNS yet
 */
export function endpointOf(
  { domains, disableExecuteApiEndpoint, stage, region }: GatewayDefinition,
  { ApiId = "", ApiEndpoint = "" }: Pick<Api, "ApiId" | "ApiEndpoint">,
  record: Gateway | undefined,
): string {
  const own = domains.map((domain) => `https://${domainAddress(domain)}`);
  if (disableExecuteApiEndpoint) {
    const chosen = own.find((endpoint) => endpoint === record?.endpoint) ?? own[0];
    if (chosen !== undefined) return chosen;
  }
  const host =
    ApiEndpoint === "" ? `${ApiId}.execute-api.${region}.${suffixOf(region)}` : new URL(ApiEndpoint).host;
  return `https://${host}/${stage}`;
}

/** Where browsers connect to. */
export function urlOf(definition: GatewayDefinition, api: Pick<Api, "ApiId" | "ApiEndpoint">): string {
  const [domain] = definition.domains;
  if (domain) return `wss://${domainAddress(domain)}`;
  return endpointOf(definition, api, undefined).replace(/^https:/, "wss:");
}
