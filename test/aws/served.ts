import type { LambdaFunction, LocalApi, LocalRoute } from "../../src/local/emulator.ts";
import type { Snapshot } from "./control-plane/apis.ts";

/**
 * Serves a deployed stage with a local gateway. The public origin of a backend replaces the
 * configured targets, as DNS and a load balancer would.
 *
 * @param functionOf returns the function with an ARN. Default: no target is a function
 */
export function servedApi(
  { api, routes, integrations }: Snapshot,
  origins: Readonly<Record<string, readonly string[]>>,
  functionOf?: (arn: string) => LambdaFunction,
): Pick<LocalApi, "routes" | "routeSelectionExpression"> {
  const entries = routes.map(({ RouteKey = "", Target, responses }): [string, LocalRoute] => {
    const integration = integrations.find(({ IntegrationId }) => Target === `integrations/${IntegrationId}`);
    if (!integration) throw new Error(`${RouteKey} calls nothing`);
    const { IntegrationUri = "", RequestParameters = {}, TimeoutInMillis = 29_000 } = integration;
    const [, arn] = /\/functions\/(.+)\/invocations$/.exec(IntegrationUri) ?? [];
    if (arn !== undefined && functionOf) {
      const integration = {
        type: "AWS_PROXY",
        handler: functionOf(arn),
        timeoutMs: TimeoutInMillis,
      } as const;
      return [RouteKey, { integration, routeResponse: responses.length > 0 }];
    }
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
