import type { LocalApi, LocalRoute } from "../../src/local/emulator.ts";
import type { Snapshot } from "./control-plane/apis.ts";

/**
 * What a stage at AWS serves, as a gateway on this machine serves it. The public origin of a backend stands for those that are given, as DNS
 * and a load balancer would have it.
 */
export function servedApi(
  { api, routes, integrations }: Snapshot,
  origins: Readonly<Record<string, readonly string[]>>,
): Pick<LocalApi, "routes" | "routeSelectionExpression"> {
  const entries = routes.map(({ RouteKey = "", Target, responses }): [string, LocalRoute] => {
    const integration = integrations.find(({ IntegrationId }) => Target === `integrations/${IntegrationId}`);
    if (!integration) throw new Error(`${RouteKey} calls nothing`);
    const { IntegrationUri = "", RequestParameters = {}, TimeoutInMillis = 29_000 } = integration;
    const url = new URL(IntegrationUri);
    const uri = (origins[url.origin] ?? [url.origin]).map((origin) => `${origin}${url.pathname}`);
    return [
      RouteKey,
      {
        integration: {
          type: "HTTP_PROXY",
          uri,
          requestParameters: RequestParameters,
          timeoutMs: TimeoutInMillis,
        },
        routeResponse: responses.length > 0,
      },
    ];
  });
  return {
    routes: Object.fromEntries(entries),
    ...(api.RouteSelectionExpression ? { routeSelectionExpression: api.RouteSelectionExpression } : {}),
  };
}
