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
import type { Gateway } from "../../auth/gateways.ts";
import { ProvisioningError } from "../../errors.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { accountOf, functionsOf, ownFunctionsOf } from "../targets.ts";
import type { ControlPlane } from "./control-plane.ts";
import { SECRET_PARAMETER } from "./desired.ts";
import { type FoundApi, findApi } from "./find-api.ts";
import type { PolicyStatement } from "./function-policies.ts";

/** What AWS has of a gateway. */
export interface ActualApi {
  readonly api: FoundApi;
  /** By id. */
  readonly integrations: ReadonlyMap<string, Integration>;
  /** By key. */
  readonly routes: ReadonlyMap<string, ActualRoute>;
  /** By name. */
  readonly stages: ReadonlyMap<string, Stage>;
  /** What the wanted stage serves. */
  readonly deployment: Deployment | undefined;
  readonly mappings: readonly ActualMapping[];
}

export interface ActualRoute extends Route {
  readonly RouteId: string;
  readonly responses: readonly RouteResponse[];
}

export interface ActualMapping extends ApiMapping {
  readonly domain: string;
}

/** What AWS has at all that concerns a gateway. */
export interface Actual {
  /** Undefined where there is none. */
  readonly found: ActualApi | undefined;
  /** Ids of further APIs that were made for the gateway, with nothing in them. */
  readonly twins: readonly string[];
  /** All of the account in the region. */
  readonly domains: readonly DomainName[];
  /** All of theirs, those to other APIs included. */
  readonly mappings: readonly ActualMapping[];
  /** Statements of the policy of each function that is a target, wanted or present, by ARN. */
  readonly statements: ReadonlyMap<string, readonly PolicyStatement[]>;
}

/** Questions to AWS at once: it takes ten a second of all its callers. */
const AT_ONCE = 5;

/** Looks at all that AWS has of a gateway. @throws ConfigurationError where several APIs are it */
export async function readActual(
  plane: ControlPlane,
  definition: GatewayDefinition,
  record: Gateway | undefined,
): Promise<Actual> {
  const { api, twins } = await findApi(plane, definition.name, record);
  const domains = await plane.list((NextToken) => plane.read(new GetDomainNamesCommand({ NextToken })));
  const few = pLimit(AT_ONCE);
  const mappings = (await few.map(domains, ({ DomainName = "" }) => readMappings(plane, DomainName))).flat();
  const found = api && (await readApi(plane, definition, api, mappings));
  return {
    found,
    twins,
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
  const answered = await pLimit(AT_ONCE).map(routes, async (route) => {
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
    routes: new Map(answered),
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
      // Somebody else's domain, which is gone since the domains were listed.
      if (error instanceof ProvisioningError && error.awsStatus === 404) return [];
      throw error;
    });
  return mappings.map((mapping) => ({ ...mapping, domain }));
}

/** ARN of the function that an integration calls; undefined of what calls none. */
export function functionIn(uri = ""): string | undefined {
  return /:lambda:path\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(uri)?.[1];
}

async function readStatements(
  plane: ControlPlane,
  definition: GatewayDefinition,
  found: ActualApi | undefined,
): Promise<ReadonlyMap<string, readonly PolicyStatement[]>> {
  const wanted = ownFunctionsOf(definition);
  const called = [...(found?.integrations.values() ?? [])].flatMap(
    ({ IntegrationUri }) => functionIn(IntegrationUri) ?? [],
  );
  const entries = [...new Set([...wanted, ...called])].map(
    async (arn) => [arn, await readPolicy(plane, definition, arn)] as const,
  );
  return new Map(await Promise.all(entries));
}

/** Nothing is ours of another account's function, or of what others have called that has no policy of its own. */
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
    const isNone = error instanceof ProvisioningError && error.awsStatus === 400;
    if (functionsOf(definition).includes(arn) || !isNone) throw error;
    return [];
  }
}

/** The secrets that an API's integrations send, each once. */
export function secretsOf(api: ActualApi | undefined): readonly string[] {
  const values = [...(api?.integrations.values() ?? [])].flatMap(({ RequestParameters }) => {
    const [, secret] = /^'(.*)'$/.exec(RequestParameters?.[SECRET_PARAMETER] ?? "") ?? [];
    return secret === undefined ? [] : [secret];
  });
  return [...new Set(values)];
}
