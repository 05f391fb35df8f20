import { gatewaySecret } from "../../aws.ts";
import type { LambdaFunction, LocalGateway, LocalGatewayOptions } from "../../local/emulator.ts";
import type { Sallyport } from "../../sallyport.ts";
import type { DevLog } from "./dev-log.ts";
import type { FunctionRoutes } from "./function-routes.ts";

/** A view, and the local gateway in front of it. */
export interface ServedView {
  /** Path of the view. */
  readonly path: string;
  /** Name of the registered gateway: `local` for the first view, then `local 2`. */
  readonly name: string;
  /** The secret of the gateway. A gateway that invokes a function has none. */
  readonly secret: string | undefined;
  readonly gateway: LocalGateway;
}

/** Where the gateways send events: to a server on a port, or to a function. */
export type Backend =
  | { readonly port: number }
  | { readonly invoke: LambdaFunction; readonly routes: FunctionRoutes };

/**
 * Starts one local gateway for each view, on ports in a row. A function has one gateway, because it
 * selects the view itself.
 *
 * @param firstPort port of the first gateway, or 0 for free ports
 */
export async function startGateways(
  paths: readonly string[],
  firstPort: number,
  backend: Backend,
  log: DevLog,
): Promise<readonly ServedView[]> {
  const { startLocalGateway } = await import("../../local/emulator.ts");
  const views: ServedView[] = [];
  try {
    for (const [index, path] of paths.entries()) {
      const secret = "port" in backend ? gatewaySecret() : undefined;
      const gateway = await startLocalGateway({
        ...("port" in backend
          ? { target: `http://localhost:${backend.port}${path}`, secret: secret as string }
          : functionApi(backend.invoke, backend.routes)),
        port: firstPort === 0 ? 0 : firstPort + index,
        onEvent: (event) => log.printEvent(event, path),
        onError: (error, where) => log.printError(error, where),
      });
      views.push({ path, name: index === 0 ? "local" : `local ${index + 1}`, secret, gateway });
    }
    return views;
  } catch (error) {
    await closeGateways(views);
    throw error;
  }
}

function functionApi(
  handler: LambdaFunction,
  { keys, routeSelectionExpression }: FunctionRoutes,
): Pick<LocalGatewayOptions, "apis"> {
  const integration = { type: "AWS_PROXY", handler } as const;
  const routes = {
    $connect: { integration },
    $disconnect: { integration },
    ...Object.fromEntries(["$default", ...keys].map((key) => [key, { integration, routeResponse: true }])),
  };
  return { apis: [{ routes, routeSelectionExpression, stages: { dev: {} } }] };
}

/** Closes the gateways and their connections. */
export async function closeGateways(views: readonly ServedView[]): Promise<void> {
  await Promise.all(views.map(({ gateway }) => gateway.close()));
}

/** Registers the gateways with the app. The connections of an earlier run are closed. */
export async function registerGateways(sallyport: Sallyport, views: readonly ServedView[]): Promise<void> {
  for (const { name, secret, gateway } of views) {
    const { apiId, endpoint, stage } = gateway;
    await sallyport.registerGateway({
      ...{ name, apiId, endpoint, stage, hasRestarted: true },
      ...(secret === undefined ? {} : { secret }),
    });
  }
}

/** Returns the WebSocket URLs by the path of the view. */
export function webSocketUrls(views: readonly ServedView[]): Readonly<Record<string, string>> {
  // The page and the WebSocket need the same host name, so that cookies reach both.
  return Object.fromEntries(
    views.map(({ path, gateway }) => [path, gateway.url.replace("127.0.0.1", "localhost")]),
  );
}

/** Returns the URLs of the inspectors by the path of the view. */
export function inspectorUrls(views: readonly ServedView[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    views.map(({ path, gateway }) => [path, (gateway.inspectorUrl ?? "").replace("127.0.0.1", "localhost")]),
  );
}
