import { ConfigurationError } from "../errors.ts";
import { regionOfHost } from "../protocol/partitions.ts";
import { ApiKeys } from "./api-keys.ts";
import {
  compileApi,
  type DeployableApi,
  type Deployment,
  type LocalApi,
  type LocalStage,
  type Throttling,
} from "./apis.ts";
import type { Clock } from "./clock.ts";
import { Connections } from "./connections.ts";
import { routeArn } from "./ids.ts";
import { checkShape, type Shape } from "./shape.ts";
import type { SigningCredentials } from "./signature.ts";
import { checkedThrottling, TokenBucket } from "./throttling.ts";

/** Custom domains, each with the stages of its paths by their first segment. "" is the root. */
export type DomainMappings = Readonly<Record<string, Readonly<Record<string, StageOfApi>>>>;

interface StageOfApi {
  readonly apiId: string;
  readonly stage: string;
}

/** A stage, and the rest of the path below it. */
interface Found {
  readonly stage: Stage;
  readonly rest: string;
}

/** The settings that all stages have in common. */
interface GatewayContext {
  readonly domains: DomainMappings;
  readonly clock: Clock;
  readonly credentials: SigningCredentials | undefined;
}

/** The default quota of stages of one API. Source: AWS developer guide, quotas. */
const MAX_STAGES = 10;

/**
 * The first path segments of a domain that AWS reserves. Source: AWS developer guide, API mappings
 * for WebSocket APIs.
 */
const RESERVED_KEYS: ReadonlySet<string> = new Set(["ping", "sping"]);

const STAGE = {
  deployed: "boolean",
  variables: "object of texts",
  throttling: "object",
  routeSettings: "object of objects",
  apiKeys: "object of texts",
} as const satisfies Shape<LocalStage>;

const MAPPING = { apiId: "text", stage: "text" } as const satisfies Shape<StageOfApi>;

/** The quota of variables of one stage. Source: AWS developer guide, quotas. */
const MAX_VARIABLES = 100;

/** The region of ARNs if the credentials contain none. */
const DEFAULT_REGION = "us-east-1";

/** A stage of an API, with its open connections. They stay open during a deployment. */
export class Stage {
  readonly apiId: string;
  readonly name: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly apiKeys: ApiKeys;
  readonly connections = new Connections();
  readonly #throttling: Throttling | undefined;
  readonly #routeSettings: Readonly<Record<string, Throttling>>;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, TokenBucket>();
  readonly #region: string;
  deployment: Deployment;
  isDeployed: boolean;

  constructor(
    apiId: string,
    name: string,
    options: LocalStage,
    deployment: Deployment,
    { clock, credentials }: GatewayContext,
  ) {
    this.apiId = apiId;
    this.name = name;
    this.variables = checkedVariables(`stage "${name}"`, options.variables ?? {});
    this.apiKeys = new ApiKeys(`stage "${name}"`, options.apiKeys ?? {});
    this.#throttling = checkedThrottling(`stage "${name}": throttling`, options.throttling);
    this.#routeSettings = checkedRouteSettings(`stage "${name}"`, options.routeSettings ?? {}, deployment);
    this.#clock = clock;
    this.#region = credentials?.region ?? DEFAULT_REGION;
    this.deployment = deployment;
    this.isDeployed = options.deployed ?? true;
  }

  /** Returns the ARN of a route. */
  arnOf(routeKey: string): string {
    return routeArn(this.#region, this.apiId, this.name, routeKey);
  }

  /** Returns the token bucket of a route, or undefined for a route without a limit. */
  bucketOf(routeKey: string): TokenBucket | undefined {
    const known = this.#buckets.get(routeKey);
    if (known) return known;
    const own = Object.hasOwn(this.#routeSettings, routeKey) ? this.#routeSettings[routeKey] : undefined;
    const throttling = own ?? this.#throttling;
    if (!throttling) return undefined;
    const bucket = new TokenBucket(throttling, this.#clock);
    this.#buckets.set(routeKey, bucket);
    return bucket;
  }
}

/** Finds the stage of a request by its host and the first segment of its path. */
export class Stages {
  readonly #byApi = new Map<string, Map<string, Stage>>();
  readonly #context: GatewayContext;

  constructor(apis: readonly (LocalApi & { readonly id: string })[], context: GatewayContext) {
    const { domains } = context;
    this.#context = context;
    for (const api of apis) {
      if (this.#byApi.has(api.id)) {
        throw new ConfigurationError(`Two APIs have the id "${api.id}". Give each a different id.`);
      }
      if (Object.keys(api.stages).length === 0)
        throw new ConfigurationError(`The API "${api.id}" has no stage. Write: stages: { dev: {} }.`);
      this.#byApi.set(api.id, new Map());
      for (const [name, stage] of Object.entries(api.stages)) this.deploy(api.id, name, api, stage);
    }
    for (const [domain, mappings] of Object.entries(domains)) this.#checkDomain(domain, mappings);
  }

  /** Deploys an API to a stage, which is created with the options if it does not exist. */
  deploy(apiId: string, name: string, api: DeployableApi, options?: LocalStage): void {
    const stages = this.#byApi.get(apiId);
    if (!stages) {
      const ids = [...this.#byApi.keys()].map((id) => `"${id}"`).join(", ");
      throw new ConfigurationError(`There is no API "${apiId}" to deploy to. Use one of: ${ids}.`);
    }
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(name)) {
      throw new ConfigurationError(
        `stage "${name}" is not a valid stage name. Use 1 to 128 letters, digits, "_" or "-".`,
      );
    }
    if (options) checkShape(`stage "${name}"`, options, STAGE);
    const deployment = compileApi(`API "${apiId}"`, api, this.#context.credentials);
    const existing = stages.get(name);
    if (existing) {
      if (options)
        throw new ConfigurationError(
          `API "${apiId}": stage "${name}" exists already, and its options cannot be changed. Remove options.`,
        );
      existing.deployment = deployment;
      existing.isDeployed = true;
      return;
    }
    if (stages.size === MAX_STAGES)
      throw new ConfigurationError(
        `API "${apiId}": an API can have at most ${MAX_STAGES} stages. Use one of them.`,
      );
    stages.set(name, new Stage(apiId, name, options ?? {}, deployment, this.#context));
  }

  #checkDomain(domain: string, mappings: DomainMappings[string]): void {
    if (!/^[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(domain)) {
      throw new ConfigurationError(
        `domains: "${domain}" is not a domain name. Write the name in lower case and without a port.`,
      );
    }
    for (const [key, mapping] of Object.entries(mappings)) {
      const where = `domains: "${domain}/${key}"`;
      checkShape(where, mapping, MAPPING);
      if (!this.#byApi.get(mapping.apiId)?.has(mapping.stage))
        throw new ConfigurationError(`${where} leads to a stage that does not exist. Define it in apis.`);
      if (!/^[A-Za-z0-9$\-_.+!*'()]{0,300}$/.test(key) || RESERVED_KEYS.has(key)) {
        throw new ConfigurationError(
          `${where} is not a key that AWS accepts. Use at most 300 letters, digits and $-_.+!*'(), and not ping or sping.`,
        );
      }
    }
  }

  *[Symbol.iterator](): Iterator<Stage> {
    for (const stages of this.#byApi.values()) yield* stages.values();
  }

  /**
   * Returns the stage of a host and a path, and the rest of the path below it.
   *
   * A host that begins with the id of an API selects that API. A host of `domains` has its own
   * paths. Any other host selects the first API with a stage of that name. A host of AWS with an
   * unknown id selects none. A stage without a deployment is not returned.
   *
   * @param path the path, which begins with "/"
   */
  at(host: string | undefined, path: string): Found | undefined {
    const found = this.#find(host, path);
    return found?.stage.isDeployed ? found : undefined;
  }

  #find(host: string | undefined, path: string): Found | undefined {
    const name = host?.replace(/:\d+$/, "").toLowerCase() ?? "";
    const [, first = "", rest = ""] = /^\/([^/]*)(.*)$/.exec(path) ?? [];
    const { domains } = this.#context;
    const mappings = Object.hasOwn(domains, name) ? domains[name] : undefined;
    if (mappings) {
      const keyed = first !== "" && Object.hasOwn(mappings, first) ? mappings[first] : undefined;
      const mapping = keyed ?? mappings[""];
      const stage = mapping && this.#byApi.get(mapping.apiId)?.get(mapping.stage);
      return stage && { stage, rest: keyed ? rest : path === "/" ? "" : path };
    }
    const [label = ""] = name.split(".");
    const own = this.#byApi.get(label);
    if (own) return byEndpoint(own.get(first), rest);
    if (regionOfHost(name) !== undefined) return undefined;
    for (const stages of this.#byApi.values()) {
      const found = byEndpoint(stages.get(first), rest);
      if (found) return found;
    }
    return undefined;
  }

  /**
   * Returns true for a name of `domains`, the id of an API and a name of AWS. A web page cannot let
   * these names resolve to this machine.
   */
  isOwnHost(name: string): boolean {
    return (
      Object.hasOwn(this.#context.domains, name) || this.#byApi.has(name) || regionOfHost(name) !== undefined
    );
  }

  /** Returns whether a host is the name of an API or of AWS. The inspector is not available there. */
  isGatewayHost(host: string | undefined): boolean {
    if (host === undefined) return false;
    return this.isKnownHost(host) || regionOfHost(host.replace(/:\d+$/, "").toLowerCase()) !== undefined;
  }

  /** Returns whether a host is the name of an API. Any other host is a name of this machine. */
  isKnownHost(host: string): boolean {
    const name = host.replace(/:\d+$/, "").toLowerCase();
    return Object.hasOwn(this.#context.domains, name) || this.#byApi.has(name.split(".")[0] ?? "");
  }
}

/** Returns a stage that is requested by the API's own endpoint, unless the endpoint is disabled. */
function byEndpoint(stage: Stage | undefined, rest: string): Found | undefined {
  return stage && !stage.deployment.isEndpointDisabled ? { stage, rest } : undefined;
}

function checkedRouteSettings(
  where: string,
  settings: Readonly<Record<string, Throttling>>,
  { routes }: Deployment,
): Readonly<Record<string, Throttling>> {
  for (const [key, throttling] of Object.entries(settings)) {
    checkedThrottling(`${where}: routeSettings["${key}"]`, throttling);
    if (!routes.has(key))
      throw new ConfigurationError(
        `${where}: routeSettings["${key}"] is for a route that does not exist. Add the route.`,
      );
  }
  return settings;
}

/** Checks stage variables. Source: AWS developer guide, quotas, and the model of API Gateway. */
function checkedVariables(
  where: string,
  variables: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const count = Object.keys(variables).length;
  if (count > MAX_VARIABLES)
    throw new ConfigurationError(
      `${where} has ${count} variables, but a stage can have at most ${MAX_VARIABLES}. Remove some of them.`,
    );
  for (const [name, value] of Object.entries(variables)) {
    if (!/^[A-Za-z0-9_]{1,64}$/.test(name) || !/^[A-Za-z0-9\-._~:/?#&=,]{1,512}$/.test(value)) {
      throw new ConfigurationError(
        `${where}: the variable ${JSON.stringify(name)} has a name or value that AWS does not accept. Use letters, digits and _ in names, and letters, digits and -._~:/?#&=, in values.`,
      );
    }
  }
  // Without a prototype, because a mapping can contain any name.
  return Object.assign(Object.create(null), variables);
}
