import {
  CreateIntegrationCommand,
  CreateRouteCommand,
  CreateRouteResponseCommand,
  DeleteIntegrationCommand,
  DeleteRouteCommand,
  DeleteRouteResponseCommand,
  type Integration,
  UpdateIntegrationCommand,
  UpdateRouteCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError } from "../../errors.ts";
import { INTEGRATION_TIMEOUT_MS, MAX_ROUTES } from "../../protocol/quotas.ts";
import { type ActualApi, type ActualRoute, functionIn } from "./actual.ts";
import {
  type DesiredIntegration,
  type DesiredRoute,
  integrationDescription,
  isManagedIntegration,
  SECRET_PARAMETER,
} from "./desired.ts";
import { type Comparison, differences, entryDifferences, type Step, withoutQuery } from "./plan.ts";
import { formerFunctions, removeInvokePermission } from "./plan-functions.ts";

/**
 * Value of the two settings that make API Gateway send the response of the backend to the client.
 */
const RESPONSE_KEY = "$default";

/** Plans the routes of the definition with their integrations, and the removal of all others. */
export function planRoutes(comparison: Comparison): readonly Step[] {
  const { desired, found } = comparison;
  const steps = desired.routes.flatMap((route) => {
    const integration = found && integrationOf(route, found);
    return [
      planIntegration(route, integration),
      planRoute(route, found?.routes.get(route.key), integration?.IntegrationId),
    ].flat();
  });
  if (!found) return steps;
  checkRouteCount(desired.routes, found);
  return [...steps, ...planRemovals(comparison, found)];
}

/**
 * Checks the number of routes. New routes and integrations are created before old ones are removed.
 *
 * @throws ConfigurationError if together they exceed the quota of an API
 */
function checkRouteCount(desired: readonly DesiredRoute[], found: ActualApi): void {
  const routes = desired.filter(({ key }) => !found.routes.has(key)).length;
  const integrations = desired.filter((route) => !integrationOf(route, found)).length;
  const total = Math.max(found.routes.size + routes, found.integrations.size + integrations);
  if (total <= MAX_ROUTES) return;
  throw new ConfigurationError(
    `The current and the new routes together are ${total}, but an API can have at most ${MAX_ROUTES}. First apply a definition without some of the new routes.`,
  );
}

/**
 * Returns the integration that a route keeps. It is the one that no other route calls. Otherwise it
 * is one that an interrupted run created for the route without assigning it.
 */
export function integrationOf(
  { key, integration: desired }: DesiredRoute,
  { routes, integrations }: ActualApi,
): Integration | undefined {
  const targeted = targetOf(routes.get(key));
  const others = new Set([...routes.values()].filter(({ RouteKey }) => RouteKey !== key).map(targetOf));
  const own = targeted === undefined || others.has(targeted) ? undefined : integrations.get(targeted);
  if (own && canBecome(own, desired)) return own;
  return [...integrations.values()].find(
    (integration) =>
      integration.Description === integrationDescription(key) &&
      !others.has(integration.IntegrationId) &&
      integration.IntegrationId !== targeted &&
      canBecome(integration, desired),
  );
}

/**
 * Returns whether an integration can be changed into the desired one.
 *
 * An integration of another type, with a VPC link or with credentials is replaced. AWS does not
 * document which of its settings can be removed. An integration of another function is replaced
 * too, because it shows which permission must be removed.
 */
function canBecome(integration: Integration, desired: DesiredIntegration): boolean {
  const { IntegrationType, ConnectionId, CredentialsArn, ContentHandlingStrategy } = integration;
  const calls = functionIn(integration.IntegrationUri);
  return (
    (IntegrationType === "HTTP_PROXY" || IntegrationType === "AWS_PROXY") &&
    [ConnectionId, CredentialsArn, ContentHandlingStrategy].every((setting) => (setting ?? "") === "") &&
    (calls === undefined || calls === functionIn(desired.IntegrationUri))
  );
}

function targetOf(route: ActualRoute | undefined): string | undefined {
  return /^integrations\/(.+)$/.exec(route?.Target ?? "")?.[1];
}

/** The settings of an integration if AWS does not return them. */
const DEFAULTS = {
  ConnectionType: "INTERNET",
  PassthroughBehavior: "WHEN_NO_MATCH",
  PayloadFormatVersion: "1.0",
  TimeoutInMillis: INTEGRATION_TIMEOUT_MS,
};

function planIntegration(
  { key, integration }: DesiredRoute,
  existing: Integration | undefined,
): readonly Step[] {
  if (!existing) {
    const create: Step = {
      action: "create",
      what: `integration of ${key}`,
      details: [`${integration.IntegrationType} ${withoutQuery(integration.IntegrationUri)}`],
      run: async (context) => {
        const made = await context.plane.write(
          new CreateIntegrationCommand({ ApiId: context.apiId, ...integration }),
        );
        context.integrationIds.set(key, made.IntegrationId ?? "");
      },
    };
    return [create];
  }
  const { RequestParameters: desired, ...fields } = integration;
  const { details, changes } = differences({ ...DEFAULTS, ...existing }, fields);
  const parameters = entryDifferences(existing.RequestParameters, desired);
  const all = [
    ...details,
    ...parameters.names.map((name) => formatParameter(name, existing.RequestParameters, desired)),
  ];
  if (all.length === 0) return [];
  const change: Step = {
    action: "change",
    what: `integration of ${key}`,
    details: all,
    run: async ({ plane, apiId }) => {
      await plane.write(
        new UpdateIntegrationCommand({
          ApiId: apiId,
          IntegrationId: existing.IntegrationId,
          // AWS validates all settings again, depending on the type.
          IntegrationType: fields.IntegrationType,
          IntegrationMethod: fields.IntegrationMethod,
          ...changes,
          ...(parameters.names.length === 0 ? {} : { RequestParameters: { ...parameters.update } }),
        }),
      );
    },
  };
  return [change];
}

/**
 * Plans a route and its route response.
 *
 * @param integrationId the id of its integration, or undefined if an earlier step creates it
 */
function planRoute(
  { key, isAnswered }: DesiredRoute,
  existing: ActualRoute | undefined,
  integrationId: string | undefined,
): readonly Step[] {
  if (!existing) {
    const create: Step = {
      action: "create",
      what: `route ${key}`,
      details: isAnswered ? ["answers reach the client"] : [],
      run: async ({ plane, apiId, integrationIds, routeIds }) => {
        const made = await plane.write(
          new CreateRouteCommand({
            ApiId: apiId,
            RouteKey: key,
            AuthorizationType: "NONE",
            Target: `integrations/${integrationIds.get(key)}`,
            ...(isAnswered ? { RouteResponseSelectionExpression: RESPONSE_KEY } : {}),
          }),
        );
        routeIds.set(key, made.RouteId ?? "");
      },
    };
    return isAnswered ? [create, createResponse(key)] : [create];
  }
  const steps: Step[] = [];
  const { details, changes } = differences(existing, {
    RouteResponseSelectionExpression: isAnswered ? RESPONSE_KEY : "",
  });
  const hasOtherTarget = integrationId === undefined || targetOf(existing) !== integrationId;
  const all = hasOtherTarget
    ? [...details, `Target: ${existing.Target ?? "nothing"} → its integration`]
    : details;
  if (all.length > 0) {
    steps.push({
      action: "change",
      what: `route ${key}`,
      details: all,
      run: async ({ plane, apiId, integrationIds }) => {
        const Target = `integrations/${integrationIds.get(key)}`;
        await plane.write(
          new UpdateRouteCommand({ ApiId: apiId, RouteId: existing.RouteId, Target, ...changes }),
        );
      },
    });
  }
  if (isAnswered && existing.responses.length === 0) steps.push(createResponse(key));
  if (!isAnswered)
    steps.push(...existing.responses.map((response) => removeResponse(key, response.RouteResponseId)));
  return steps;
}

function createResponse(key: string): Step {
  return {
    action: "create",
    what: `route response of ${key}`,
    details: [],
    run: async ({ plane, apiId, routeIds }) => {
      const RouteId = routeIds.get(key) ?? "";
      await plane.write(
        new CreateRouteResponseCommand({ ApiId: apiId, RouteId, RouteResponseKey: RESPONSE_KEY }),
      );
    },
  };
}

function removeResponse(key: string, RouteResponseId: string | undefined): Step {
  return {
    action: "remove",
    what: `route response of ${key}`,
    details: [],
    run: async ({ plane, apiId, routeIds }) => {
      const RouteId = routeIds.get(key) ?? "";
      await plane.write(new DeleteRouteResponseCommand({ ApiId: apiId, RouteId, RouteResponseId }));
    },
  };
}

/**
 * Plans the removal of routes that the definition does not have, and of unused integrations. The
 * integration of a function remains while the API has the permission to call it.
 */
function planRemovals({ desired, actual }: Comparison, found: ActualApi): readonly Step[] {
  const keys = new Set(desired.routes.map(({ key }) => key));
  const routes = [...found.routes.values()].filter(({ RouteKey = "" }) => !keys.has(RouteKey));
  const former = new Set(formerFunctions(actual.statements, desired.functions, found));
  return [
    ...routes.map(({ RouteKey = "", RouteId }): Step => {
      return {
        action: "remove",
        what: `route ${RouteKey}`,
        details: [],
        run: async ({ plane, apiId }) => {
          await plane.write(new DeleteRouteCommand({ ApiId: apiId, RouteId }));
        },
      };
    }),
    ...unusedIntegrations(desired.routes, found)
      .filter(({ IntegrationUri }) => !former.has(functionIn(IntegrationUri) ?? ""))
      .map(removeIntegration),
  ];
}

/**
 * Plans the removal of permissions to call functions that are not targets any more, after the
 * deployment. Their integrations are removed last, because they identify these functions.
 */
export function planFormerFunctions({ desired, actual, found }: Comparison): readonly Step[] {
  // Another stage can still call them.
  if (!found || found.stages.size > 1) return [];
  const former = formerFunctions(actual.statements, desired.functions, found);
  return [
    ...former.map(removeInvokePermission),
    ...unusedIntegrations(desired.routes, found)
      .filter(({ IntegrationUri }) => former.includes(functionIn(IntegrationUri) ?? ""))
      .map(removeIntegration),
  ];
}

/**
 * Returns the integrations that no desired route keeps, if a route calls them now or if Sallyport
 * created them.
 */
function unusedIntegrations(desired: readonly DesiredRoute[], found: ActualApi): readonly Integration[] {
  const kept = new Set(desired.map((route) => integrationOf(route, found)?.IntegrationId));
  const targeted = new Set([...found.routes.values()].map(targetOf));
  return [...found.integrations.values()].filter(
    ({ IntegrationId, Description }) =>
      !kept.has(IntegrationId) && (targeted.has(IntegrationId) || isManagedIntegration(Description)),
  );
}

function removeIntegration({ IntegrationId, IntegrationUri = "" }: Integration): Step {
  return {
    action: "remove",
    what: "integration",
    details: [withoutQuery(IntegrationUri)],
    run: async ({ plane, apiId }) => {
      await plane.write(new DeleteIntegrationCommand({ ApiId: apiId, IntegrationId }));
    },
  };
}

function formatParameter(
  name: string,
  actual: Readonly<Record<string, string>> | undefined,
  desired: Readonly<Record<string, string>>,
): string {
  const header = name.replace("integration.request.", "");
  if (name === SECRET_PARAMETER) return `${header}: ${name in desired ? "another secret" : "removed"}`;
  return `${header}: ${formatSource(actual?.[name])} → ${formatSource(desired[name])}`;
}

/** Formats the source of a header. A fixed value is not printed, because it can be a secret. */
function formatSource(value: string | undefined): string {
  if (!value) return "nothing";
  return value.startsWith("'") ? "a fixed value" : value;
}
