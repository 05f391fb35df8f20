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
  isOurIntegration,
  SECRET_PARAMETER,
} from "./desired.ts";
import { type Comparison, differences, entryDifferences, type Step, withoutQuery } from "./plan.ts";
import { forbid, formerFunctions } from "./plan-functions.ts";

/** Value of the route's two settings by which an answer reaches the socket. */
const ANSWER = "$default";

/** Each wanted route with its integration, and then those that are wanted no more. */
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
  refuseTooMany(desired.routes, found);
  return [...steps, ...planRemovals(comparison, found)];
}

/** What is new is made beside what is there. @throws ConfigurationError where that is more than an API takes */
function refuseTooMany(wanted: readonly DesiredRoute[], found: ActualApi): void {
  const routes = wanted.filter(({ key }) => !found.routes.has(key)).length;
  const integrations = wanted.filter((route) => !integrationOf(route, found)).length;
  const most = Math.max(found.routes.size + routes, found.integrations.size + integrations);
  if (most <= MAX_ROUTES) return;
  throw new ConfigurationError(
    `Beside its present routes the new ones make ${most}, and an API takes ${MAX_ROUTES}. Define and apply it without some of the new ones first.`,
  );
}

/**
 * The integration that a route is to keep: the one that it alone calls, or one that was made for it and not given to it, since a run ended
 * in between.
 */
export function integrationOf(
  { key, integration: wanted }: DesiredRoute,
  { routes, integrations }: ActualApi,
): Integration | undefined {
  const targeted = targetOf(routes.get(key));
  const others = new Set([...routes.values()].filter(({ RouteKey }) => RouteKey !== key).map(targetOf));
  const own = targeted === undefined || others.has(targeted) ? undefined : integrations.get(targeted);
  if (own && canBecome(own, wanted)) return own;
  return [...integrations.values()].find(
    (integration) =>
      integration.Description === integrationDescription(key) &&
      !others.has(integration.IntegrationId) &&
      integration.IntegrationId !== targeted &&
      canBecome(integration, wanted),
  );
}

/**
 * Whether an integration can be brought to what is wanted. What is another kind, or leads through a VPC link, or has credentials, is
 * replaced: nobody has written down which of its settings AWS lets go. So is what calls another function, as it says whose permission
 * is to be taken away.
 */
function canBecome(integration: Integration, wanted: DesiredIntegration): boolean {
  const { IntegrationType, ConnectionId, CredentialsArn, ContentHandlingStrategy } = integration;
  const calls = functionIn(integration.IntegrationUri);
  return (
    (IntegrationType === "HTTP_PROXY" || IntegrationType === "AWS_PROXY") &&
    [ConnectionId, CredentialsArn, ContentHandlingStrategy].every((setting) => (setting ?? "") === "") &&
    (calls === undefined || calls === functionIn(wanted.IntegrationUri))
  );
}

function targetOf(route: ActualRoute | undefined): string | undefined {
  return /^integrations\/(.+)$/.exec(route?.Target ?? "")?.[1];
}

/** What an integration has of which AWS says nothing. */
const UNSAID = {
  ConnectionType: "INTERNET",
  PassthroughBehavior: "WHEN_NO_MATCH",
  PayloadFormatVersion: "1.0",
  TimeoutInMillis: INTEGRATION_TIMEOUT_MS,
};

function planIntegration(
  { key, integration }: DesiredRoute,
  there: Integration | undefined,
): readonly Step[] {
  if (!there) {
    const create: Step = {
      action: "create",
      what: `integration of ${key}`,
      details: [`${integration.IntegrationType} ${withoutQuery(integration.IntegrationUri)}`],
      run: async (hand) => {
        const made = await hand.plane.write(
          new CreateIntegrationCommand({ ApiId: hand.apiId, ...integration }),
        );
        hand.integrationIds.set(key, made.IntegrationId ?? "");
      },
    };
    return [create];
  }
  const { RequestParameters: wanted, ...fields } = integration;
  const { details, changes } = differences({ ...UNSAID, ...there }, fields);
  const parameters = entryDifferences(there.RequestParameters, wanted);
  const all = [
    ...details,
    ...parameters.names.map((name) => shownParameter(name, there.RequestParameters, wanted)),
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
          IntegrationId: there.IntegrationId,
          // AWS judges the whole anew, by its type.
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

/** @param integrationId of the integration that is there already; undefined where it is made by an earlier step */
function planRoute(
  { key, isAnswered }: DesiredRoute,
  there: ActualRoute | undefined,
  integrationId: string | undefined,
): readonly Step[] {
  if (!there) {
    const create: Step = {
      action: "create",
      what: `route ${key}`,
      details: isAnswered ? ["answers reach the socket"] : [],
      run: async ({ plane, apiId, integrationIds, routeIds }) => {
        const made = await plane.write(
          new CreateRouteCommand({
            ApiId: apiId,
            RouteKey: key,
            AuthorizationType: "NONE",
            Target: `integrations/${integrationIds.get(key)}`,
            ...(isAnswered ? { RouteResponseSelectionExpression: ANSWER } : {}),
          }),
        );
        routeIds.set(key, made.RouteId ?? "");
      },
    };
    return isAnswered ? [create, answerStep(key)] : [create];
  }
  const steps: Step[] = [];
  const { details, changes } = differences(there, {
    RouteResponseSelectionExpression: isAnswered ? ANSWER : "",
  });
  const isElsewhere = integrationId === undefined || targetOf(there) !== integrationId;
  const all = isElsewhere ? [...details, `Target: ${there.Target ?? "nothing"} → its integration`] : details;
  if (all.length > 0) {
    steps.push({
      action: "change",
      what: `route ${key}`,
      details: all,
      run: async ({ plane, apiId, integrationIds }) => {
        const Target = `integrations/${integrationIds.get(key)}`;
        await plane.write(
          new UpdateRouteCommand({ ApiId: apiId, RouteId: there.RouteId, Target, ...changes }),
        );
      },
    });
  }
  if (isAnswered && there.responses.length === 0) steps.push(answerStep(key));
  if (!isAnswered)
    steps.push(...there.responses.map((response) => silentStep(key, response.RouteResponseId)));
  return steps;
}

function answerStep(key: string): Step {
  return {
    action: "create",
    what: `route response of ${key}`,
    details: [],
    run: async ({ plane, apiId, routeIds }) => {
      const RouteId = routeIds.get(key) ?? "";
      await plane.write(new CreateRouteResponseCommand({ ApiId: apiId, RouteId, RouteResponseKey: ANSWER }));
    },
  };
}

function silentStep(key: string, RouteResponseId: string | undefined): Step {
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

/** Routes that are wanted no more, and what only they called, but for functions that may still be called by us. */
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
 * Functions that are called no more need not be callable, once nothing that is deployed calls them. The integrations that called them go
 * last: they are how it is known which functions those were.
 */
export function planFormerFunctions({ desired, actual, found }: Comparison): readonly Step[] {
  // Another stage may still call them.
  if (!found || found.stages.size > 1) return [];
  const former = formerFunctions(actual.statements, desired.functions, found);
  return [
    ...former.map(forbid),
    ...unusedIntegrations(desired.routes, found)
      .filter(({ IntegrationUri }) => former.includes(functionIn(IntegrationUri) ?? ""))
      .map(removeIntegration),
  ];
}

/** Integrations that were called and are no more; of others that nobody calls, those that are ours. */
function unusedIntegrations(wanted: readonly DesiredRoute[], found: ActualApi): readonly Integration[] {
  const kept = new Set(wanted.map((route) => integrationOf(route, found)?.IntegrationId));
  const targeted = new Set([...found.routes.values()].map(targetOf));
  return [...found.integrations.values()].filter(
    ({ IntegrationId, Description }) =>
      !kept.has(IntegrationId) && (targeted.has(IntegrationId) || isOurIntegration(Description)),
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

function shownParameter(
  name: string,
  actual: Readonly<Record<string, string>> | undefined,
  desired: Readonly<Record<string, string>>,
): string {
  const header = name.replace("integration.request.", "");
  if (name === SECRET_PARAMETER)
    return `${header}: ${name in desired ? "another secret" : "nothing any more"}`;
  return `${header}: ${shownSource(actual?.[name])} → ${shownSource(desired[name])}`;
}

/** A fixed value may be somebody's secret. */
function shownSource(value: string | undefined): string {
  if (!value) return "nothing";
  return value.startsWith("'") ? "a fixed value" : value;
}
