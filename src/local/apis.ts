import { ConfigurationError } from "../errors.ts";
import { INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";
import type { LambdaFunction } from "./function-proxy.ts";
import { compileParameters, type Parameters } from "./parameters.ts";
import { RouteSelection } from "./route-selection.ts";

/** A WebSocket API on your desk. */
export interface LocalApi {
  /** Default: ten random lower-case letters and digits. */
  readonly id?: string;
  /** Default "$request.body.action". */
  readonly routeSelectionExpression?: string;
  /**
   * By route key. Without `$connect` everybody is let in, without `$disconnect` nobody hears of who leaves, and without `$default` a message
   * that selects no route is answered with AWS's "Forbidden" frame.
   */
  readonly routes: Readonly<Record<string, LocalRoute>>;
  /** By name, one at least. Each serves the API as it was when it was deployed to it: at the start, and by `deploy()`. */
  readonly stages: Readonly<Record<string, LocalStage>>;
}

export interface LocalRoute {
  readonly integration: LocalIntegration;
  /** Whether what the integration answers to a message reaches the client. Default false, as at AWS. */
  readonly routeResponse?: boolean;
}

export type LocalIntegration = HttpProxyIntegration | FunctionIntegration;

/** Calls a backend over HTTP. */
export interface HttpProxyIntegration {
  readonly type: "HTTP_PROXY";
  /**
   * The URL that is called, in which `${stageVariables.name}` stands for a stage's variable and `{name}` for a mapped path parameter. Of several, as
   * instances behind a load balancer, each event goes to the next one, and past one that nobody listens at.
   */
  readonly uri: string | readonly string[];
  /** Default "POST". */
  readonly method?: string;
  /** As AWS's `RequestParameters`: `"integration.request.header.connectionId": "context.connectionId"`. Default: none. */
  readonly requestParameters?: Readonly<Record<string, string>>;
  /** Longest wait for an answer, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
}

/** Calls a function in this process, with the event that AWS Lambda would be invoked with. */
export interface FunctionIntegration {
  readonly type: "AWS_PROXY";
  readonly handler: LambdaFunction;
  /** Longest wait for an answer, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
}

export interface LocalStage {
  /** Default: none. */
  readonly variables?: Readonly<Record<string, string>>;
  /** How much a route takes, each for itself: more is refused with 429. Default: everything. */
  readonly throttling?: Throttling;
}

export interface Throttling {
  /** Requests a second. 0 refuses everything, as at AWS. */
  readonly ratePerSecond: number;
  /** Requests at once. */
  readonly burst: number;
}

/** A route as it is served. */
export interface DeployedRoute {
  readonly integration: DeployedIntegration;
  readonly routeResponse: boolean;
}

export type DeployedIntegration =
  | {
      readonly type: "HTTP_PROXY";
      readonly uris: readonly string[];
      readonly method: string;
      readonly parameters: Parameters;
      readonly timeoutMs: number;
    }
  | { readonly type: "AWS_PROXY"; readonly handler: LambdaFunction; readonly timeoutMs: number };

/** An API as it was at a moment: what a stage serves. */
export interface Deployment {
  readonly routes: ReadonlyMap<string, DeployedRoute>;
  readonly selection: RouteSelection;
}

/** Shortest wait for an integration, in milliseconds. Source: AWS developer guide, quotas. */
const MIN_TIMEOUT_MS = 50;

const OWN_ROUTES = ["$connect", "$disconnect", "$default"];

/** @throws ConfigurationError for what could not be deployed, saying what to write instead */
export function compileApi(
  where: string,
  api: Pick<LocalApi, "routes" | "routeSelectionExpression">,
): Deployment {
  const entries = Object.entries(api.routes);
  if (entries.length === 0) throw new ConfigurationError(`${where}: at least one route is needed.`);
  const routes = entries.map(([key, route]) => {
    if (key === "" || (key.startsWith("$") && !OWN_ROUTES.includes(key))) {
      throw new ConfigurationError(
        `${where}: "${key}" is no route key. There are ${OWN_ROUTES.join(", ")}, and keys of your own that do not begin with "$".`,
      );
    }
    const integration = compileIntegration(`${where}: routes["${key}"]`, route.integration);
    return [key, { integration, routeResponse: route.routeResponse ?? false }] as const;
  });
  const keys = entries.map(([key]) => key).filter((key) => !key.startsWith("$"));
  const expression = api.routeSelectionExpression ?? "$request.body.action";
  return { routes: new Map(routes), selection: new RouteSelection(expression, keys) };
}

function compileIntegration(where: string, integration: LocalIntegration): DeployedIntegration {
  const { timeoutMs = INTEGRATION_TIMEOUT_MS } = integration;
  if (!(timeoutMs >= MIN_TIMEOUT_MS && timeoutMs <= INTEGRATION_TIMEOUT_MS)) {
    throw new ConfigurationError(
      `${where}: timeoutMs is at least ${MIN_TIMEOUT_MS} and at most ${INTEGRATION_TIMEOUT_MS}, not ${timeoutMs}.`,
    );
  }
  if (integration.type === "AWS_PROXY") {
    if (typeof integration.handler !== "function")
      throw new ConfigurationError(`${where}: handler is a function that takes an event, as Lambda's are.`);
    return { type: "AWS_PROXY", handler: integration.handler, timeoutMs };
  }
  if (integration.type !== "HTTP_PROXY") {
    throw new ConfigurationError(
      `${where}: an integration's type is "HTTP_PROXY" or "AWS_PROXY"; the others are not played here.`,
    );
  }
  const uris = typeof integration.uri === "string" ? [integration.uri] : integration.uri;
  if (!Array.isArray(uris) || uris.length === 0)
    throw new ConfigurationError(`${where}: uri is missing. Write your backend's URL.`);
  for (const uri of uris) checkUri(where, uri);
  const { method = "POST", requestParameters = {} } = integration;
  return {
    type: "HTTP_PROXY",
    uris,
    method,
    parameters: compileParameters(where, requestParameters),
    timeoutMs,
  };
}

/** Whatever is filled in later stands for itself here. */
function checkUri(where: string, uri: string): void {
  const plain = uri.replace(/\$\{stageVariables\.[A-Za-z0-9_]+\}/g, "x");
  const url = URL.canParse(plain) ? new URL(plain) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return;
  throw new ConfigurationError(
    `${where} "${uri}" is no http or https URL. Write one such as "http://localhost:3000/ws/chat".`,
  );
}
