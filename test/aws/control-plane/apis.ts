import type * as Aws from "@aws-sdk/client-apigatewayv2";
import * as check from "./checks.ts";
import { Domains } from "./domains.ts";
import { AwsError, badRequest, conflict, notFound } from "./operations.ts";
import type { Clock } from "./rates.ts";
import { found, type MapUpdates, merged, newId, paged } from "./resources.ts";

/** A snapshot of an API at the time of its deployment. */
export interface Snapshot {
  readonly api: Aws.Api;
  readonly routes: readonly (Aws.Route & { readonly responses: readonly Aws.RouteResponse[] })[];
  readonly integrations: readonly Aws.Integration[];
}

interface ApiRecord {
  api: Aws.Api;
  readonly integrations: Map<string, Aws.Integration>;
  readonly routes: Map<string, Aws.Route>;
  /** By route, then by id. */
  readonly responses: Map<string, Map<string, Aws.RouteResponse>>;
  readonly stages: Map<string, Aws.Stage>;
  readonly deployments: Map<string, Aws.Deployment & { readonly snapshot: Snapshot }>;
}

/** Maximum number of resources of an API. Source: AWS developer guide, quotas. */
const MAX_ROUTES = 300;
const MAX_STAGES = 10;

const ROUTE_SETTINGS = /^(\$connect|\$disconnect|\$default|[^$].*)$/;

/**
 * WebSocket APIs in the control plane of API Gateway. Input, errors and answers follow the models
 * and the documents of AWS. Where neither is specific, this is stricter: it rejects what AWS
 * ignores, such as members of HTTP APIs. The exception is `TlsConfig`, which AWS drops.
 */
export class Apis {
  readonly #clock: Clock;
  readonly #region: string;
  readonly #pageSize: number;
  readonly #apis = new Map<string, ApiRecord>();
  readonly domains: Domains;

  constructor(clock: Clock, region: string, pageSize: number) {
    this.#clock = clock;
    this.#region = region;
    this.#pageSize = pageSize;
    this.domains = new Domains(region, pageSize, (apiId, stage) => {
      found(this.#api(apiId).stages, stage, "Stage");
    });
  }

  /**
   * The results of the next deployments in order. `PENDING` ones become deployed when they are
   * read. Default: deployed immediately.
   */
  readonly nextDeployments: ("PENDING" | "FAILED")[] = [];

  /** How an update changes the map of an integration or a stage. */
  mapUpdates: MapUpdates = "merge";

  /** Returns id and endpoint of a new API. Default: a random id, and the host that AWS gives it. */
  identify = (): { readonly ApiId: string; readonly ApiEndpoint: string } => {
    const ApiId = newId(10);
    return { ApiId, ApiEndpoint: `wss://${ApiId}.execute-api.${this.#region}.amazonaws.com` };
  };

  /** Called when a stage serves another deployment. Default: nothing. */
  onServed: (apiId: string, stage: Aws.Stage, snapshot: Snapshot) => void = () => undefined;

  /** Time after its creation in which an API is in no list, in milliseconds. Default: 0. */
  showsAfterMs = 0;

  /** Returns what a stage of an API serves, or undefined if nothing was deployed to it. */
  served(apiId: string, stageName: string): Snapshot | undefined {
    const record = this.#apis.get(apiId);
    const deploymentId = record?.stages.get(stageName)?.DeploymentId;
    return deploymentId === undefined ? undefined : record?.deployments.get(deploymentId)?.snapshot;
  }

  /** Returns every API. */
  all(): readonly Aws.Api[] {
    return [...this.#apis.values()].map(({ api }) => api);
  }

  /** Omits the default values of an integration, as AWS may do. */
  forgetDefaults(apiId: string, integrationId: string): void {
    const integration = found(this.#api(apiId).integrations, integrationId, "Integration");
    delete integration.ConnectionType;
    delete integration.PassthroughBehavior;
    delete integration.PayloadFormatVersion;
    delete integration.TimeoutInMillis;
  }

  run(operation: string, input: unknown): unknown {
    for (const resources of [this, this.domains]) {
      const method = (resources as unknown as Record<string, ((input: unknown) => unknown) | undefined>)[
        operation
      ];
      if (!/^[A-Z]/.test(operation) || typeof method !== "function") continue;
      const output = method.call(resources, input);
      if (!/^Get/.test(operation)) this.#deployByItself((input as { ApiId?: string }).ApiId);
      return output;
    }
    throw new AwsError(501, "NotImplemented", `${operation} is not implemented here`);
  }

  // APIs

  CreateApi(input: Aws.CreateApiRequest): Aws.CreateApiResponse {
    check.length("Name", input.Name, 1, 128);
    check.oneOf("ProtocolType", input.ProtocolType, ["WEBSOCKET"]);
    const { RouteKey, Target, CredentialsArn, CorsConfiguration } = input;
    check.absent("WEBSOCKET APIs", { RouteKey, Target, CredentialsArn, CorsConfiguration });
    if (!input.RouteSelectionExpression)
      throw badRequest("RouteSelectionExpression is required for WEBSOCKET APIs");
    checkApi(input);
    check.tags(input.Tags);
    const { ApiId, ApiEndpoint } = this.identify();
    const api: Aws.Api = {
      ApiId,
      ApiEndpoint,
      ApiKeySelectionExpression: "$request.header.x-api-key",
      DisableExecuteApiEndpoint: false,
      IpAddressType: "ipv4",
      CreatedDate: new Date(this.#clock.now),
      ...input,
    } as Aws.Api;
    this.#apis.set(ApiId, {
      api,
      integrations: new Map(),
      routes: new Map(),
      responses: new Map(),
      stages: new Map(),
      deployments: new Map(),
    });
    return api;
  }

  GetApi({ ApiId }: Aws.GetApiRequest): Aws.GetApiResponse {
    return this.#api(ApiId).api;
  }

  GetApis(input: Aws.GetApisRequest): Aws.GetApisResponse {
    const shown = this.all().filter(
      ({ CreatedDate }) => this.#clock.now - (CreatedDate?.getTime() ?? 0) >= this.showsAfterMs,
    );
    return paged(shown, this.#pageSize, input);
  }

  UpdateApi(input: Aws.UpdateApiRequest): Aws.UpdateApiResponse {
    const record = this.#api(input.ApiId);
    const { RouteKey, Target, CredentialsArn, CorsConfiguration } = input;
    check.absent("WEBSOCKET APIs", { RouteKey, Target, CredentialsArn, CorsConfiguration });
    checkApi(input);
    record.api = merged(record.api, input);
    return record.api;
  }

  DeleteApi({ ApiId }: Aws.DeleteApiRequest): void {
    this.#api(ApiId);
    this.domains.rejectMapped(ApiId, undefined);
    this.#apis.delete(ApiId ?? "");
  }

  TagResource({ ResourceArn, Tags }: Aws.TagResourceRequest): void {
    const resource = this.#tagged(ResourceArn);
    const all = { ...resource.Tags, ...Tags };
    check.tags(all);
    resource.Tags = all;
  }

  UntagResource({ ResourceArn, TagKeys = [] }: Aws.UntagResourceRequest): void {
    const resource = this.#tagged(ResourceArn);
    const kept = Object.entries(resource.Tags ?? {}).filter(([key]) => !TagKeys.includes(key));
    resource.Tags = Object.fromEntries(kept);
  }

  // Integrations

  CreateIntegration(input: Aws.CreateIntegrationRequest): Aws.CreateIntegrationResult {
    const { integrations } = this.#api(input.ApiId);
    if (integrations.size >= MAX_ROUTES) throw badRequest("Too many integrations");
    const IntegrationId = newId(7);
    const { ApiId: _, TlsConfig: __, ...rest } = input;
    const integration: Aws.Integration = {
      IntegrationId,
      ConnectionType: "INTERNET",
      PassthroughBehavior: "WHEN_NO_MATCH",
      PayloadFormatVersion: "1.0",
      TimeoutInMillis: 29_000,
      ...rest,
    };
    checkIntegration(integration);
    integrations.set(IntegrationId, integration);
    return integration;
  }

  GetIntegrations(input: Aws.GetIntegrationsRequest): Aws.GetIntegrationsResponse {
    return paged([...this.#api(input.ApiId).integrations.values()], this.#pageSize, input);
  }

  UpdateIntegration(input: Aws.UpdateIntegrationRequest): Aws.UpdateIntegrationResult {
    const { integrations } = this.#api(input.ApiId);
    const integration = found(integrations, input.IntegrationId, "Integration");
    const { ApiId: _, TlsConfig: __, ...rest } = input;
    const next = merged(integration, rest, ["RequestParameters", "RequestTemplates"], this.mapUpdates);
    checkIntegration(next);
    integrations.set(integration.IntegrationId ?? "", next);
    return next;
  }

  DeleteIntegration({ ApiId, IntegrationId }: Aws.DeleteIntegrationRequest): void {
    const { integrations, routes } = this.#api(ApiId);
    found(integrations, IntegrationId, "Integration");
    for (const { Target, RouteKey } of routes.values())
      if (Target === `integrations/${IntegrationId}`)
        throw conflict(`Cannot delete Integration ${IntegrationId} which is referenced by route ${RouteKey}`);
    integrations.delete(IntegrationId ?? "");
  }

  // Routes

  CreateRoute(input: Aws.CreateRouteRequest): Aws.CreateRouteResult {
    const record = this.#api(input.ApiId);
    if (record.routes.size >= MAX_ROUTES) throw badRequest("Too many routes");
    const RouteId = newId(7);
    const { ApiId: _, ...rest } = input;
    const route: Aws.Route = {
      RouteId,
      ApiKeyRequired: false,
      AuthorizationType: "NONE",
      ...rest,
    } as Aws.Route;
    this.#checkRoute(record, route);
    record.routes.set(RouteId, route);
    record.responses.set(RouteId, new Map());
    return route;
  }

  GetRoutes(input: Aws.GetRoutesRequest): Aws.GetRoutesResponse {
    return paged([...this.#api(input.ApiId).routes.values()], this.#pageSize, input);
  }

  UpdateRoute(input: Aws.UpdateRouteRequest): Aws.UpdateRouteResult {
    const record = this.#api(input.ApiId);
    const route = found(record.routes, input.RouteId, "Route");
    const { ApiId: _, ...rest } = input;
    const next = merged(route, rest, ["RequestModels"]);
    this.#checkRoute(record, next);
    record.routes.set(route.RouteId ?? "", next);
    return next;
  }

  DeleteRoute({ ApiId, RouteId }: Aws.DeleteRouteRequest): void {
    const { routes, responses } = this.#api(ApiId);
    found(routes, RouteId, "Route");
    routes.delete(RouteId ?? "");
    responses.delete(RouteId ?? "");
  }

  CreateRouteResponse(input: Aws.CreateRouteResponseRequest): Aws.CreateRouteResponseResponse {
    const { routes, responses } = this.#api(input.ApiId);
    const route = found(routes, input.RouteId, "Route");
    check.oneOf("RouteResponseKey", input.RouteResponseKey, ["$default"]);
    const of = responses.get(route.RouteId ?? "") ?? new Map<string, Aws.RouteResponse>();
    if (of.size > 0) throw conflict(`Route response with key ${input.RouteResponseKey} already exists`);
    const RouteResponseId = newId(7);
    const response: Aws.RouteResponse = { RouteResponseId, RouteResponseKey: input.RouteResponseKey };
    of.set(RouteResponseId, response);
    return response;
  }

  GetRouteResponses(input: Aws.GetRouteResponsesRequest): Aws.GetRouteResponsesResponse {
    const { routes, responses } = this.#api(input.ApiId);
    found(routes, input.RouteId, "Route");
    return paged([...(responses.get(input.RouteId ?? "")?.values() ?? [])], this.#pageSize, input);
  }

  DeleteRouteResponse({ ApiId, RouteId, RouteResponseId }: Aws.DeleteRouteResponseRequest): void {
    const { routes, responses } = this.#api(ApiId);
    found(routes, RouteId, "Route");
    const of = responses.get(RouteId ?? "") ?? new Map<string, Aws.RouteResponse>();
    found(of, RouteResponseId, "RouteResponse");
    of.delete(RouteResponseId ?? "");
  }

  // Stages and deployments

  CreateStage(input: Aws.CreateStageRequest): Aws.CreateStageResponse {
    const { stages, deployments } = this.#api(input.ApiId);
    check.form("stage name", input.StageName, /^[A-Za-z0-9_-]{1,128}$/);
    if (stages.has(input.StageName ?? "")) throw conflict(`Stage already exists`);
    if (stages.size >= MAX_STAGES) throw badRequest("Too many stages");
    if (input.DeploymentId !== undefined) found(deployments, input.DeploymentId, "Deployment");
    check.tags(input.Tags);
    const { ApiId: _, ...rest } = input;
    const stage: Aws.Stage = {
      AutoDeploy: false,
      CreatedDate: new Date(this.#clock.now),
      DefaultRouteSettings: { DataTraceEnabled: false, DetailedMetricsEnabled: false, LoggingLevel: "OFF" },
      RouteSettings: {},
      StageVariables: {},
      ...rest,
    } as Aws.Stage;
    checkStage(stage);
    stages.set(input.StageName ?? "", stage);
    this.#announce(input.ApiId, input.StageName);
    return stage;
  }

  GetStage({ ApiId, StageName }: Aws.GetStageRequest): Aws.GetStageResponse {
    return found(this.#api(ApiId).stages, StageName, "Stage");
  }

  GetStages(input: Aws.GetStagesRequest): Aws.GetStagesResponse {
    return paged([...this.#api(input.ApiId).stages.values()], this.#pageSize, input);
  }

  UpdateStage(input: Aws.UpdateStageRequest): Aws.UpdateStageResponse {
    const { stages, deployments, routes } = this.#api(input.ApiId);
    const stage = found(stages, input.StageName, "Stage");
    const { ApiId: _, ...rest } = input;
    const next = merged(
      stage,
      rest,
      ["StageVariables", "RouteSettings", "DefaultRouteSettings"],
      this.mapUpdates,
    );
    if (input.DeploymentId !== undefined) {
      if (next.AutoDeploy) throw badRequest("Deployment ID cannot be set when AutoDeploy is enabled");
      found(deployments, input.DeploymentId, "Deployment");
    }
    checkStage(next);
    // Observed on HTTP APIs.
    const keys = [...routes.values()].map(({ RouteKey }) => RouteKey);
    const gone = Object.keys(next.RouteSettings ?? {}).find((key) => !keys.includes(key));
    if (gone !== undefined)
      throw notFound(`Unable to find Route by key ${gone} within the provided RouteSettings`);
    stages.set(stage.StageName ?? "", next);
    return next;
  }

  DeleteStage({ ApiId, StageName }: Aws.DeleteStageRequest): void {
    const { stages } = this.#api(ApiId);
    found(stages, StageName, "Stage");
    this.domains.rejectMapped(ApiId, StageName);
    stages.delete(StageName ?? "");
  }

  DeleteRouteSettings({ ApiId, StageName, RouteKey }: Aws.DeleteRouteSettingsRequest): void {
    const { stages } = this.#api(ApiId);
    const { RouteSettings, ...stage } = found(stages, StageName, "Stage");
    const { [RouteKey ?? ""]: settings, ...others } = RouteSettings ?? {};
    if (settings === undefined) throw notFound(`Invalid Route key specified ${RouteKey}`);
    stages.set(StageName ?? "", { ...stage, RouteSettings: others });
  }

  DeleteAccessLogSettings({ ApiId, StageName }: Aws.DeleteAccessLogSettingsRequest): void {
    const { stages } = this.#api(ApiId);
    const { AccessLogSettings: _, ...stage } = found(stages, StageName, "Stage");
    stages.set(StageName ?? "", stage);
  }

  CreateDeployment(input: Aws.CreateDeploymentRequest): Aws.CreateDeploymentResponse {
    const record = this.#api(input.ApiId);
    check.length("Description", input.Description, 0, 1024);
    if (record.routes.size === 0)
      throw badRequest("At least one route is required before deploying the Api.");
    const stage = input.StageName === undefined ? undefined : found(record.stages, input.StageName, "Stage");
    if (stage?.AutoDeploy) throw badRequest("Deployments of a stage with AutoDeploy are made by AWS");
    const outcome: Aws.DeploymentStatus = this.nextDeployments.shift() ?? "DEPLOYED";
    const deployment = this.#deploy(record, {
      DeploymentStatus: outcome,
      AutoDeployed: false,
      ...(input.Description === undefined ? {} : { Description: input.Description }),
    });
    const { DeploymentId } = deployment;
    // A failed deployment does not change the stage.
    if (stage && outcome !== "FAILED") record.stages.set(input.StageName ?? "", { ...stage, DeploymentId });
    this.#announce(input.ApiId, input.StageName);
    return deployment;
  }

  GetDeployment({ ApiId, DeploymentId }: Aws.GetDeploymentRequest): Aws.GetDeploymentResponse {
    const { deployments } = this.#api(ApiId);
    const deployment = found(deployments, DeploymentId, "Deployment");
    if (deployment.DeploymentStatus === "PENDING")
      deployments.set(DeploymentId ?? "", { ...deployment, DeploymentStatus: "DEPLOYED" });
    return deployment;
  }

  GetDeployments(input: Aws.GetDeploymentsRequest): Aws.GetDeploymentsResponse {
    return paged([...this.#api(input.ApiId).deployments.values()], this.#pageSize, input);
  }

  DeleteDeployment({ ApiId, DeploymentId }: Aws.DeleteDeploymentRequest): void {
    const { stages, deployments } = this.#api(ApiId);
    found(deployments, DeploymentId, "Deployment");
    for (const stage of stages.values())
      if (stage.DeploymentId === DeploymentId)
        throw badRequest(`Active stages pointing to this deployment must be moved or deleted`);
    deployments.delete(DeploymentId ?? "");
  }

  #announce(apiId = "", stageName = ""): void {
    const stage = this.#apis.get(apiId)?.stages.get(stageName);
    const snapshot = this.served(apiId, stageName);
    if (stage && snapshot) this.onServed(apiId, stage, snapshot);
  }

  /** Returns a snapshot of the API. */
  #deploy(record: ApiRecord, fields: Partial<Aws.Deployment>): Aws.Deployment & { DeploymentId: string } {
    const snapshot: Snapshot = structuredClone({
      api: record.api,
      integrations: [...record.integrations.values()],
      routes: [...record.routes.values()].map((route) => {
        return { ...route, responses: [...(record.responses.get(route.RouteId ?? "")?.values() ?? [])] };
      }),
    });
    const DeploymentId = newId(6);
    const deployment = { DeploymentId, CreatedDate: new Date(this.#clock.now), ...fields, snapshot };
    record.deployments.set(DeploymentId, deployment);
    return deployment;
  }

  /** Stages with AutoDeploy serve each change immediately. */
  #deployByItself(apiId: string | undefined): void {
    const record = this.#apis.get(apiId ?? "");
    if (!record || record.routes.size === 0) return;
    for (const [name, stage] of record.stages) {
      if (stage.AutoDeploy !== true) continue;
      const { DeploymentId } = this.#deploy(record, { DeploymentStatus: "DEPLOYED", AutoDeployed: true });
      record.stages.set(name, { ...stage, DeploymentId });
    }
  }

  #api(id: string | undefined): ApiRecord {
    const record = this.#apis.get(id ?? "");
    if (!record) throw notFound(`Invalid API identifier specified ${id}`);
    return record;
  }

  #checkRoute({ routes, integrations }: ApiRecord, route: Aws.Route): void {
    const { RouteKey = "", RouteId, Target, RequestParameters, RouteResponseSelectionExpression } = route;
    check.length("RouteKey", RouteKey, 1, 256);
    check.form("RouteKey", RouteKey, ROUTE_SETTINGS);
    for (const other of routes.values())
      if (other.RouteKey === RouteKey && other.RouteId !== RouteId)
        throw conflict(`Route with key ${RouteKey} already exists for this API`);
    const [, integration] = /^integrations\/(.+)$/.exec(Target ?? "") ?? [];
    if (Target !== undefined && (integration === undefined || !integrations.has(integration)))
      throw badRequest(`Invalid target specified: ${Target}`);
    if (RequestParameters !== undefined && RouteKey !== "$connect")
      throw badRequest("RequestParameters are supported for the $connect route only");
    check.oneOf("RouteResponseSelectionExpression", RouteResponseSelectionExpression, ["$default"]);
    check.length("OperationName", route.OperationName, 1, 64);
  }

  #tagged(arn = ""): { Tags?: Record<string, string> | undefined } {
    const [, apiId, stage] =
      new RegExp(`^arn:aws:apigateway:${this.#region}::/apis/([^/]+)(?:/stages/([^/]+))?$`).exec(arn) ?? [];
    const [, domain] =
      new RegExp(`^arn:aws:apigateway:${this.#region}::/domainnames/([^/]+)$`).exec(arn) ?? [];
    if (domain !== undefined) return this.domains.domain(domain);
    if (apiId === undefined) throw badRequest(`Invalid resource ARN ${arn}`);
    const record = this.#api(apiId);
    return stage === undefined ? record.api : found(record.stages, stage, "Stage");
  }
}

function checkApi(input: Aws.UpdateApiRequest | Aws.CreateApiRequest): void {
  check.length("Name", input.Name, 1, 128);
  check.length("Description", input.Description, 0, 1024);
  check.length("Version", input.Version, 0, 64);
  check.form("RouteSelectionExpression", input.RouteSelectionExpression, /./);
  check.oneOf("ApiKeySelectionExpression", input.ApiKeySelectionExpression, [
    "$request.header.x-api-key",
    "$context.authorizer.usageIdentifierKey",
  ]);
  check.oneOf("IpAddressType", input.IpAddressType, ["ipv4", "dualstack"]);
}

function checkIntegration(integration: Aws.Integration): void {
  const { IntegrationType = "", IntegrationMethod, IntegrationUri, RequestParameters = {} } = integration;
  check.oneOf("IntegrationType", IntegrationType, ["AWS", "AWS_PROXY", "HTTP", "HTTP_PROXY", "MOCK"]);
  check.length("Description", integration.Description, 0, 1024);
  if (IntegrationType !== "MOCK") {
    if (IntegrationMethod === undefined) throw badRequest("IntegrationMethod is required");
    check.oneOf("IntegrationMethod", IntegrationMethod, [
      "GET",
      "POST",
      "PUT",
      "PATCH",
      "DELETE",
      "HEAD",
      "OPTIONS",
      "ANY",
    ]);
    check.integrationUri(IntegrationUri, IntegrationType);
  }
  check.oneOf("ConnectionType", integration.ConnectionType, ["INTERNET", "VPC_LINK"]);
  check.oneOf("PassthroughBehavior", integration.PassthroughBehavior, [
    "WHEN_NO_MATCH",
    "WHEN_NO_TEMPLATES",
    "NEVER",
  ]);
  check.oneOf("PayloadFormatVersion", integration.PayloadFormatVersion, ["1.0"]);
  const { TimeoutInMillis = 29_000 } = integration;
  if (TimeoutInMillis < 50 || TimeoutInMillis > 29_000)
    throw badRequest("Timeout should be between 50 ms and 29000 ms");
  const mapped = Object.entries(RequestParameters).filter(([, value]) => value !== "");
  check.requestParameters(Object.fromEntries(mapped));
}

function checkStage(stage: Aws.Stage): void {
  check.length("Description", stage.Description, 0, 1024);
  check.stageVariables(stage.StageVariables ?? {});
  for (const settings of [stage.DefaultRouteSettings, ...Object.values(stage.RouteSettings ?? {})])
    check.oneOf("LoggingLevel", settings?.LoggingLevel, ["ERROR", "INFO", "OFF"]);
  const { AccessLogSettings } = stage;
  if (AccessLogSettings === undefined) return;
  check.form(
    "access log destination",
    AccessLogSettings.DestinationArn ?? "",
    /^arn:aws[a-z-]*:(logs|firehose):.+[^*]$/,
  );
  check.form("access log format", AccessLogSettings.Format ?? "", /\$context\.(requestId|extendedRequestId)/);
  check.length("access log format", AccessLogSettings.Format, 1, 3072);
}
