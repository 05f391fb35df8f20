import { ConfigurationError } from "../errors.ts";
import type { ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
import { MAX_ROUTES } from "../protocol/quotas.ts";
import type { LambdaFunction } from "./function-call.ts";
import { compileGuard, type Guard, type LocalAuthorization } from "./guards.ts";
import { TOKEN } from "./http-headers.ts";
import { checkedTimeout } from "./integration-timeout.ts";
import {
  checkDeclared,
  checkLater,
  compileParameters,
  type DeclaredParameters,
  type Parameters,
} from "./parameters.ts";
import { RouteSelection } from "./route-selection.ts";
import { checkShape, type Shape } from "./shape.ts";
import type { SigningCredentials } from "./signature.ts";

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
  /** Where a client's API key is looked for. Default "$request.header.x-api-key". */
  readonly apiKeySelectionExpression?: ApiKeySelectionExpression;
  /** Whether only `domains` lead to it, and every other host is refused with 403. Default false. */
  readonly disableExecuteApiEndpoint?: boolean;
  /** By name, one at least and ten at most. Each serves the API as it was when it was deployed to it: at the start, and by `deploy()`. */
  readonly stages: Readonly<Record<string, LocalStage>>;
}

export interface LocalRoute {
  readonly integration: LocalIntegration;
  /** Whether what the integration answers to a message reaches the client. Default false, as at AWS. */
  readonly routeResponse?: boolean;
  /** Who may connect: on `$connect` only, as at AWS. Whoever is let in is not asked again. Default: everybody. */
  readonly authorization?: LocalAuthorization;
  /** Whether a client needs one of its stage's API keys, or else is refused with 403: on `$connect` only. Default false. */
  readonly apiKeyRequired?: boolean;
  /**
   * What of the client's request may be mapped, as AWS's `RequestParameters` of a route: `{ "route.request.querystring.token": { required: false } }`. On
   * `$connect` only. Default: none.
   */
  readonly requestParameters?: DeclaredParameters;
}

/** What a deployment takes of an API. */
export type DeployableApi = Pick<
  LocalApi,
  "routes" | "routeSelectionExpression" | "apiKeySelectionExpression" | "disableExecuteApiEndpoint"
>;

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
  /** Whether the API is deployed to it at the start. One that is not refuses everybody with 403 until `deploy()`. Default true. */
  readonly deployed?: boolean;
  /** Default: none. */
  readonly variables?: Readonly<Record<string, string>>;
  /** How much a route takes, each for itself: more is refused with 429. Default: everything. */
  readonly throttling?: Throttling;
  /** The same for routes by their keys, in place of `throttling`. Default: none. */
  readonly routeSettings?: Readonly<Record<string, Throttling>>;
  /** Values by id: the API keys that a usage plan lets in here. Default: none, so that nobody has one. */
  readonly apiKeys?: Readonly<Record<string, string>>;
}

export interface Throttling {
  /** Requests a second. 0 refuses everything, as at AWS. */
  readonly ratePerSecond: number;
  /** Requests at once. */
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
  readonly guard: Guard;
  readonly isEndpointDisabled: boolean;
}

const OWN_ROUTES = ["$connect", "$disconnect", "$default"];

/** @throws ConfigurationError for what is no API */
export function checkApi(api: LocalApi): void {
  checkShape("apis: an API", api, API);
}

/** @throws ConfigurationError for what is none to deploy */
export function checkDeployable(api: DeployableApi): void {
  checkShape("deploy(): the API", api, DEPLOYABLE);
}

/** @throws ConfigurationError for what could not be deployed, saying what to write instead */
export function compileApi(
  where: string,
  api: DeployableApi,
  credentials: SigningCredentials | undefined,
): Deployment {
  const entries = Object.entries(api.routes ?? {});
  if (entries.length === 0) throw new ConfigurationError(`${where}: at least one route is needed.`);
  if (entries.length > MAX_ROUTES)
    throw new ConfigurationError(`${where}: ${entries.length} routes; an API has ${MAX_ROUTES} at most.`);
  const routes = entries.map(([key, route]) => {
    if (key === "" || (key.startsWith("$") && !OWN_ROUTES.includes(key))) {
      throw new ConfigurationError(
        `${where}: "${key}" is no route key. There are ${OWN_ROUTES.join(", ")}, and keys of your own that do not begin with "$".`,
      );
    }
    return [key, compileRoute(`${where}: routes["${key}"]`, key, route)] as const;
  });
  const keys = entries.map(([key]) => key).filter((key) => !key.startsWith("$"));
  return {
    routes: new Map(routes),
    selection: new RouteSelection(api.routeSelectionExpression ?? "$request.body.action", keys),
    guard: compileGuard(where, api.routes, api.apiKeySelectionExpression, credentials),
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
    throw new ConfigurationError(`${where}: requestParameters are for $connect, as at AWS.`);
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
      throw new ConfigurationError(`${where}: handler is a function that takes an event, as Lambda's are.`);
    return {
      type: "AWS_PROXY",
      handler: integration.handler,
      timeoutMs: checkedTimeout(where, integration.timeoutMs),
    };
  }
  if (integration.type !== "HTTP_PROXY") {
    throw new ConfigurationError(
      `${where}: an integration's type is "HTTP_PROXY" or "AWS_PROXY"; MOCK, HTTP and AWS are not played here.`,
    );
  }
  checkShape(`${where}: integration`, integration, HTTP_PROXY);
  const uris = typeof integration.uri === "string" ? [integration.uri] : integration.uri;
  if (!Array.isArray(uris) || uris.length === 0)
    throw new ConfigurationError(`${where}: uri is missing. Write your backend's URL.`);
  for (const uri of uris) checkUri(where, uri);
  const { method = "POST", requestParameters = {} } = integration;
  if (!TOKEN.test(method))
    throw new ConfigurationError(`${where}: "${method}" is no method. Write one such as "POST".`);
  return {
    type: "HTTP_PROXY",
    uris,
    method,
    parameters: compileParameters(where, requestParameters),
    timeoutMs: checkedTimeout(where, integration.timeoutMs),
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
