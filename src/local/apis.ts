import { ConfigurationError } from "../errors.ts";
import type { ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
import type { LambdaFunction } from "../protocol/function-call.ts";
import { MAX_ROUTES } from "../protocol/quotas.ts";
import { type ConnectChecks, compileConnectChecks, type LocalAuthorization } from "./guards.ts";
import { TOKEN } from "./http-headers.ts";
import {
  checkDeclared,
  checkLater,
  compileParameters,
  type DeclaredParameters,
  type Parameters,
} from "./parameters.ts";
import { RouteSelection } from "./route-selection.ts";
import { checkedTimeout, checkShape, type Shape } from "./shape.ts";
import type { SigningCredentials } from "./signature.ts";

/** A WebSocket API of a local gateway. */
export interface LocalApi {
  /** The id of the API. Default: ten random lower-case letters and digits. */
  readonly id?: string;
  /** The expression that selects the route of a message. Default "$request.body.action". */
  readonly routeSelectionExpression?: string;
  /**
   * The routes by key, at most 300.
   *
   * Without `$connect`, every client can connect. Without `$disconnect`, no backend is notified
   * when a client disconnects. Without `$default`, a message that selects no route is answered with
   * the "Forbidden" frame of AWS.
   */
  readonly routes: Readonly<Record<string, LocalRoute>>;
  /** The source of a client's API key. Default "$request.header.x-api-key". */
  readonly apiKeySelectionExpression?: ApiKeySelectionExpression;
  /** Allows requests through `domains` only. Other hosts are answered with 403. Default false. */
  readonly disableExecuteApiEndpoint?: boolean;
  /**
   * The stages by name, from one to ten. A stage serves the API as it was deployed, at the start or
   * by `deploy()`.
   */
  readonly stages: Readonly<Record<string, LocalStage>>;
}

/** A route of a local API. */
export interface LocalRoute {
  /** The backend that is called for each event of the route. */
  readonly integration: LocalIntegration;
  /** Whether answers to messages are sent to the client. Default false, as at AWS. */
  readonly routeResponse?: boolean;
  /**
   * The authorization of a connect. Allowed on `$connect` only, as at AWS. Messages are not
   * authorized again. Default: none, so every client can connect.
   */
  readonly authorization?: LocalAuthorization;
  /**
   * Whether a client needs an API key of the stage. A client without one is answered with 403.
   * Allowed on `$connect` only. Default false.
   */
  readonly apiKeyRequired?: boolean;
  /**
   * The headers and query parameters of the client that can be mapped, as `RequestParameters` of a
   * route at AWS: `{ "route.request.querystring.token": { required: false } }`. Allowed on
   * `$connect` only. Default: none.
   */
  readonly requestParameters?: DeclaredParameters;
}

/** The parts of an API that a deployment contains. */
export type DeployableApi = Pick<
  LocalApi,
  "routes" | "routeSelectionExpression" | "apiKeySelectionExpression" | "disableExecuteApiEndpoint"
>;

/** The integration of a route. */
export type LocalIntegration = HttpProxyIntegration | FunctionIntegration;

/** An integration that calls a backend over HTTP. */
export interface HttpProxyIntegration {
  readonly type: "HTTP_PROXY";
  /**
   * The URL of the backend. It can contain `${stageVariables.name}` for a stage variable, and
   * `{name}` for a mapped path parameter.
   *
   * A list contains the instances behind a load balancer. Each event goes to the next instance, and
   * an instance that accepts no connection is skipped.
   */
  readonly uri: string | readonly string[];
  /** The HTTP method. Default "POST". */
  readonly method?: string;
  /**
   * The mapping, as `RequestParameters` of an integration at AWS:
   * `"integration.request.header.connectionId": "context.connectionId"`. Default: none.
   */
  readonly requestParameters?: Readonly<Record<string, string>>;
  /** The time limit of an answer, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
}

/** An integration that calls a function in this process, with the event of AWS Lambda. */
export interface FunctionIntegration {
  readonly type: "AWS_PROXY";
  /** The function, such as the handler of a Lambda function. */
  readonly handler: LambdaFunction;
  /** The time limit of an answer, in milliseconds, 50 to 29 000. Default 29 000. */
  readonly timeoutMs?: number;
}

/** A stage of a local API. */
export interface LocalStage {
  /**
   * Whether the API is deployed to the stage at the start. A stage without a deployment answers
   * every connect with 403 until `deploy()`. Default true.
   */
  readonly deployed?: boolean;
  /** The stage variables, at most 100. Default: none. */
  readonly variables?: Readonly<Record<string, string>>;
  /** The limits of each route. Requests above them are rejected with 429. Default: no limit. */
  readonly throttling?: Throttling;
  /** The limits of single routes by key, which replace `throttling`. Default: none. */
  readonly routeSettings?: Readonly<Record<string, Throttling>>;
  /** The API keys that the stage accepts, as values by id. Default: none. */
  readonly apiKeys?: Readonly<Record<string, string>>;
}

/** A limit of requests, as a token bucket. */
export interface Throttling {
  /** Requests per second. 0 rejects every request, as at AWS. */
  readonly ratePerSecond: number;
  /** The maximum burst of requests. */
  readonly burst: number;
}

const DEPLOYABLE = {
  routes: "object of objects",
  routeSelectionExpression: "text",
  apiKeySelectionExpression: "text",
  disableExecuteApiEndpoint: "boolean",
} as const satisfies Shape<DeployableApi>;

const API = { ...DEPLOYABLE, id: "text", stages: "object of objects" } as const satisfies Shape<LocalApi>;

const ROUTE = {
  integration: "object",
  routeResponse: "boolean",
  authorization: "object",
  apiKeyRequired: "boolean",
  requestParameters: "object of objects",
} as const satisfies Shape<LocalRoute>;

const HTTP_PROXY = {
  type: "text",
  uri: "text or list of texts",
  method: "text",
  requestParameters: "object of texts",
  timeoutMs: "number",
} as const satisfies Shape<HttpProxyIntegration>;

const AWS_PROXY = {
  type: "text",
  handler: "function",
  timeoutMs: "number",
} as const satisfies Shape<FunctionIntegration>;

/** A compiled route. */
export interface DeployedRoute {
  readonly integration: DeployedIntegration;
  readonly routeResponse: boolean;
}

/** A compiled integration. */
export type DeployedIntegration =
  | {
      readonly type: "HTTP_PROXY";
      readonly uris: readonly string[];
      readonly method: string;
      readonly parameters: Parameters;
      readonly timeoutMs: number;
    }
  | { readonly type: "AWS_PROXY"; readonly handler: LambdaFunction; readonly timeoutMs: number };

/** A compiled API, which a stage serves. */
export interface Deployment {
  readonly routes: ReadonlyMap<string, DeployedRoute>;
  readonly selection: RouteSelection;
  readonly guard: ConnectChecks;
  readonly isEndpointDisabled: boolean;
}

const PREDEFINED_ROUTES = ["$connect", "$disconnect", "$default"];

/** Checks the options of an API. @throws ConfigurationError for an invalid one */
export function checkApi(api: LocalApi): void {
  checkShape("apis: an API", api, API);
}

/** Checks an API that is to be deployed. @throws ConfigurationError for an invalid one */
export function checkDeployable(api: DeployableApi): void {
  checkShape("deploy(): the API", api, DEPLOYABLE);
}

/**
 * Compiles an API for a stage.
 *
 * @throws ConfigurationError for an API that cannot be deployed, with what to write instead
 */
export function compileApi(
  where: string,
  api: DeployableApi,
  credentials: SigningCredentials | undefined,
): Deployment {
  const entries = Object.entries(api.routes ?? {});
  if (entries.length === 0)
    throw new ConfigurationError(`${where}: at least one route is required. Add one.`);
  if (entries.length > MAX_ROUTES)
    throw new ConfigurationError(
      `${where} has ${entries.length} routes, but an API can have at most ${MAX_ROUTES}. Remove some routes.`,
    );
  const routes = entries.map(([key, route]) => {
    if (key === "" || (key.startsWith("$") && !PREDEFINED_ROUTES.includes(key))) {
      throw new ConfigurationError(
        `${where}: "${key}" is not a route key. Use ${PREDEFINED_ROUTES.join(", ")}, or a key that does not begin with "$".`,
      );
    }
    return [key, compileRoute(`${where}: routes["${key}"]`, key, route)] as const;
  });
  const keys = entries.map(([key]) => key).filter((key) => !key.startsWith("$"));
  return {
    routes: new Map(routes),
    selection: new RouteSelection(api.routeSelectionExpression ?? "$request.body.action", keys),
    guard: compileConnectChecks(where, api.routes, api.apiKeySelectionExpression, credentials),
    isEndpointDisabled: api.disableExecuteApiEndpoint ?? false,
  };
}

function compileRoute(where: string, key: string, route: LocalRoute): DeployedRoute {
  checkShape(where, route, ROUTE);
  const { integration, requestParameters } = route;
  if (!integration)
    throw new ConfigurationError(
      `${where} has no integration. Write: integration: { type: "HTTP_PROXY", uri }.`,
    );
  if (requestParameters && key !== "$connect")
    throw new ConfigurationError(
      `${where}: requestParameters are allowed on $connect only, as at AWS. Remove them.`,
    );
  const deployed = compileIntegration(where, integration);
  const mapping = (integration.type === "HTTP_PROXY" && integration.requestParameters) || {};
  if (key === "$connect") checkDeclared(where, mapping, requestParameters ?? {});
  else checkLater(where, mapping);
  return { integration: deployed, routeResponse: route.routeResponse ?? false };
}

function compileIntegration(where: string, integration: LocalIntegration): DeployedIntegration {
  if (integration.type === "AWS_PROXY") {
    checkShape(`${where}: integration`, integration, AWS_PROXY);
    if (typeof integration.handler !== "function")
      throw new ConfigurationError(
        `${where}: handler must be a function that accepts an event. Pass a handler of a Lambda function.`,
      );
    return {
      type: "AWS_PROXY",
      handler: integration.handler,
      timeoutMs: checkedTimeout(where, integration.timeoutMs),
    };
  }
  if (integration.type !== "HTTP_PROXY") {
    throw new ConfigurationError(
      `${where}: the type of an integration must be "HTTP_PROXY" or "AWS_PROXY". MOCK, HTTP and AWS are not supported here. Use one of the two.`,
    );
  }
  checkShape(`${where}: integration`, integration, HTTP_PROXY);
  const uris = typeof integration.uri === "string" ? [integration.uri] : integration.uri;
  if (!Array.isArray(uris) || uris.length === 0)
    throw new ConfigurationError(`${where}: uri is missing. Write the URL of your backend.`);
  for (const uri of uris) checkUri(where, uri);
  const { method = "POST", requestParameters = {} } = integration;
  if (!TOKEN.test(method))
    throw new ConfigurationError(`${where}: "${method}" is not an HTTP method. Write one such as "POST".`);
  return {
    type: "HTTP_PROXY",
    uris,
    method,
    parameters: compileParameters(where, requestParameters),
    timeoutMs: checkedTimeout(where, integration.timeoutMs),
  };
}

/** Checks a URL, in which the stage variables are replaced by a placeholder. */
function checkUri(where: string, uri: string): void {
  const plain = uri.replace(/\$\{stageVariables\.[A-Za-z0-9_]+\}/g, "x");
  const url = URL.canParse(plain) ? new URL(plain) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return;
  throw new ConfigurationError(
    `${where} "${uri}" is not an http or https URL. Write one such as "http://localhost:3000/ws/chat".`,
  );
}
