import {
  type ApiMapping,
  type Deployment,
  type DomainName,
  GetApiMappingsCommand,
  GetDeploymentCommand,
  GetDomainNamesCommand,
  GetIntegrationsCommand,
  GetRouteResponsesCommand,
  GetRoutesCommand,
  GetStagesCommand,
  type Integration,
  type Route,
  type RouteResponse,
  type Stage,
} from "@aws-sdk/client-apigatewayv2";
import pLimit from "p-limit";
import { ProvisioningError } from "../../errors.ts";
import type { Gateway } from "../../storage/stores/gateways.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { accountOf, functionsOf, ownFunctionsOf } from "../targets.ts";
import type { ControlPlane } from "./control-plane.ts";
import { SECRET_PARAMETER } from "./desired.ts";
import { type FoundApi, findApi } from "./find-api.ts";
import type { PolicyStatement } from "./function-policies.ts";

/** The API of a gateway as it exists at AWS. */
export interface ActualApi {
  readonly api: FoundApi;
  /** By id. */
  readonly integrations: ReadonlyMap<string, Integration>;
  /** By key. */
  readonly routes: ReadonlyMap<string, ActualRoute>;
  /** By name. */
  readonly stages: ReadonlyMap<string, Stage>;
  /** The deployment that the stage of the definition serves. */
  readonly deployment: Deployment | undefined;
  readonly mappings: readonly ActualMapping[];
}

/** A route with its route responses. */
export interface ActualRoute extends Route {
  readonly RouteId: string;
  readonly responses: readonly RouteResponse[];
}

/** A mapping with the name of its domain. */
export interface ActualMapping extends ApiMapping {
  readonly domain: string;
}

/** Everything at AWS that concerns a gateway. */
export interface Actual {
  /** The API of the gateway. Undefined if there is none. */
  readonly found: ActualApi | undefined;
  /** Ids of empty duplicates of the API. */
  readonly duplicates: readonly string[];
  /** All domains of the account in the region. */
  readonly domains: readonly DomainName[];
  /** All mappings of these domains, including those of other APIs. */
  readonly mappings: readonly ActualMapping[];
  /** Policy statements by the ARN of the function, for desired and current targets. */
  readonly statements: ReadonlyMap<string, readonly PolicyStatement[]>;
}

/** Concurrent calls to AWS, which accepts ten calls per second for the account. */
const CONCURRENCY = 5;

/**
 * Reads everything at AWS that concerns a gateway.
 *
 * @throws ConfigurationError if several APIs in use belong to the gateway
 * @throws ProvisioningError if AWS rejects a call or cannot be reached
 */
export async function readActual(
  plane: ControlPlane,
  definition: GatewayDefinition,
  record: Gateway | undefined,
): Promise<Actual> {
  const { api, duplicates } = await findApi(plane, definition.name, record);
  const domains = await plane.list((NextToken) => plane.read(new GetDomainNamesCommand({ NextToken })));
  const limit = pLimit(CONCURRENCY);
  const mappings = (
    await limit.map(domains, ({ DomainName = "" }) => readMappings(plane, DomainName))
  ).flat();
  const found = api && (await readApi(plane, definition, api, mappings));
  return {
    found,
    duplicates,
    domains,
    mappings,
    statements: await readStatements(plane, definition, found),
  };
}

async function readApi(
  plane: ControlPlane,
  { stage }: GatewayDefinition,
  api: FoundApi,
  mappings: readonly ActualMapping[],
): Promise<ActualApi> {
  const { ApiId } = api;
  const integrations = await plane.list((NextToken) =>
    plane.read(new GetIntegrationsCommand({ ApiId, NextToken })),
  );
  const routes = await plane.list((NextToken) => plane.read(new GetRoutesCommand({ ApiId, NextToken })));
  const routesByKey = await pLimit(CONCURRENCY).map(routes, async (route) => {
    const RouteId = route.RouteId ?? "";
    const responses = await plane.list((NextToken) =>
      plane.read(new GetRouteResponsesCommand({ ApiId, RouteId, NextToken })),
    );
    return [route.RouteKey ?? "", { ...route, RouteId, responses }] as const;
  });
  const stages = await plane.list((NextToken) => plane.read(new GetStagesCommand({ ApiId, NextToken })));
  const DeploymentId = stages.find(({ StageName }) => StageName === stage)?.DeploymentId;
  return {
    api,
    integrations: new Map(integrations.map((integration) => [integration.IntegrationId ?? "", integration])),
    routes: new Map(routesByKey),
    stages: new Map(stages.map((each) => [each.StageName ?? "", each])),
    deployment: DeploymentId
      ? await plane.read(new GetDeploymentCommand({ ApiId, DeploymentId }))
      : undefined,
    mappings: mappings.filter((mapping) => mapping.ApiId === ApiId),
  };
}

async function readMappings(plane: ControlPlane, domain: string): Promise<readonly ActualMapping[]> {
  const mappings = await plane
    .list((NextToken) => plane.read(new GetApiMappingsCommand({ DomainName: domain, NextToken })))
    .catch((error: unknown) => {
      // A domain of another team can be deleted after the domains were listed.
      if (error instanceof ProvisioningError && error.awsStatus === 404) return [];
      throw error;
    });
  return mappings.map((mapping) => ({ ...mapping, domain }));
}

/** Returns the ARN of the function that an integration calls, or undefined if it calls none. */
export function functionIn(uri = ""): string | undefined {
  return /:lambda:path\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(uri)?.[1];
}

async function readStatements(
  plane: ControlPlane,
  definition: GatewayDefinition,
  found: ActualApi | undefined,
): Promise<ReadonlyMap<string, readonly PolicyStatement[]>> {
  const desired = ownFunctionsOf(definition);
  const called = [...(found?.integrations.values() ?? [])].flatMap(
    ({ IntegrationUri }) => functionIn(IntegrationUri) ?? [],
  );
  const entries = [...new Set([...desired, ...called])].map(
    async (arn) => [arn, await readPolicy(plane, definition, arn)] as const,
  );
  return new Map(await Promise.all(entries));
}

/**
 * Returns the policy statements of a function. A function of another account has none here. A
 * function that only the current integrations call can be without a readable policy.
 */
async function readPolicy(
  plane: ControlPlane,
  definition: GatewayDefinition,
  arn: string,
): Promise<readonly PolicyStatement[]> {
  const account = accountOf({ lambda: arn });
  if (account !== (definition.account ?? account)) return [];
  try {
    return await (await plane.functions()).statements(arn);
  } catch (error) {
    const isInvalid = error instanceof ProvisioningError && error.awsStatus === 400;
    if (functionsOf(definition).includes(arn) || !isInvalid) throw error;
    return [];
  }
}

/** Returns the secrets that the integrations of an API send, without duplicates. */
export function secretsOf(api: ActualApi | undefined): readonly string[] {
  const values = [...(api?.integrations.values() ?? [])].flatMap(({ RequestParameters }) => {
    const [, secret] = /^'(.*)'$/.exec(RequestParameters?.[SECRET_PARAMETER] ?? "") ?? [];
    return secret === undefined ? [] : [secret];
  });
  return [...new Set(values)];
}
