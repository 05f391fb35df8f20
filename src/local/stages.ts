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
import { routeArn } from "./arns.ts";
import type { Clock } from "./clock.ts";
import { Connections } from "./connections.ts";
import { checkShape, type Shape } from "./shape.ts";
import type { SigningCredentials } from "./signature.ts";
import { checkedThrottling, TokenBucket } from "./throttling.ts";

/** Domains of one's own, each with the stages that its paths lead to; "" is the root. */
export type DomainMappings = Readonly<Record<string, Readonly<Record<string, StageOfApi>>>>;

interface StageOfApi {
  readonly apiId: string;
  readonly stage: string;
}

/** A stage, and what of a path is left below it. */
interface Found {
  readonly stage: Stage;
  readonly rest: string;
}

/** What the stages of all APIs have in common. */
interface Surroundings {
  readonly domains: DomainMappings;
  readonly clock: Clock;
  readonly credentials: SigningCredentials | undefined;
}

/** Stages of one API, until AWS raises it. Source: AWS developer guide, quotas. */
const MAX_STAGES = 10;

/** First parts of a domain's paths that are AWS's own. Source: AWS developer guide, API mappings for WebSocket APIs. */
const RESERVED_KEYS: ReadonlySet<string> = new Set(["ping", "sping"]);

const STAGE = {
  deployed: "boolean",
  variables: "object of texts",
  throttling: "object",
  routeSettings: "object of objects",
  apiKeys: "object of texts",
} as const satisfies Shape<LocalStage>;

const MAPPING = { apiId: "text", stage: "text" } as const satisfies Shape<StageOfApi>;

/** Variables of one stage. Source: AWS developer guide, quotas. */
const MAX_VARIABLES = 100;

/** Of ARNs, where the credentials name none. */
const DEFAULT_REGION = "us-east-1";

/** One stage of one API, with the sockets that are open at it. They stay when something else is deployed to it. */
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
    { clock, credentials }: Surroundings,
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

  /** Of one of its routes. */
  arnOf(routeKey: string): string {
    return routeArn(this.#region, this.apiId, this.name, routeKey);
  }

  /** What is left to a route; undefined for one that takes everything. */
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

/** Which stage a request is for, by its host and the first part of its path. */
export class Stages {
  readonly #byApi = new Map<string, Map<string, Stage>>();
  readonly #surroundings: Surroundings;

  constructor(apis: readonly (LocalApi & { readonly id: string })[], surroundings: Surroundings) {
    const { domains } = surroundings;
    this.#surroundings = surroundings;
    for (const api of apis) {
      if (this.#byApi.has(api.id)) throw new ConfigurationError(`Two APIs have the id "${api.id}".`);
      if (Object.keys(api.stages).length === 0)
        throw new ConfigurationError(`The API "${api.id}" has no stage. Write: stages: { dev: {} }.`);
      this.#byApi.set(api.id, new Map());
      for (const [name, stage] of Object.entries(api.stages)) this.deploy(api.id, name, api, stage);
    }
    for (const [domain, mappings] of Object.entries(domains)) this.#checkDomain(domain, mappings);
  }

  /** Serves an API as it is now at a stage. One that is not there is made, with its options. */
  deploy(apiId: string, name: string, api: DeployableApi, options?: LocalStage): void {
    const stages = this.#byApi.get(apiId);
    if (!stages) {
      const there = [...this.#byApi.keys()].map((id) => `"${id}"`).join(", ");
      throw new ConfigurationError(`There is no API "${apiId}" to deploy to; there are ${there}.`);
    }
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(name)) {
      throw new ConfigurationError(
        `stage "${name}" is no stage name. Use 1 to 128 letters, digits, "_" or "-".`,
      );
    }
    if (options) checkShape(`stage "${name}"`, options, STAGE);
    const deployment = compileApi(`API "${apiId}"`, api, this.#surroundings.credentials);
    const there = stages.get(name);
    if (there) {
      if (options)
        throw new ConfigurationError(
          `API "${apiId}": stage "${name}" is there already, with options of its own.`,
        );
      there.deployment = deployment;
      there.isDeployed = true;
      return;
    }
    if (stages.size === MAX_STAGES)
      throw new ConfigurationError(`API "${apiId}": an API has ${MAX_STAGES} stages at most.`);
    stages.set(name, new Stage(apiId, name, options ?? {}, deployment, this.#surroundings));
  }

  #checkDomain(domain: string, mappings: DomainMappings[string]): void {
    if (!/^[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(domain)) {
      throw new ConfigurationError(
        `domains: "${domain}" is no domain. Write its name alone, without a port and in lower case.`,
      );
    }
    for (const [key, mapping] of Object.entries(mappings)) {
      const where = `domains: "${domain}/${key}"`;
      checkShape(where, mapping, MAPPING);
      if (!this.#byApi.get(mapping.apiId)?.has(mapping.stage))
        throw new ConfigurationError(`${where} leads to no stage that is there.`);
      if (!/^[A-Za-z0-9$\-_.+!*'()]{0,300}$/.test(key) || RESERVED_KEYS.has(key)) {
        throw new ConfigurationError(
          `${where} is no key that AWS takes: 300 letters, digits and $-_.+!*'() at most, but for ping and sping.`,
        );
      }
    }
  }

  *[Symbol.iterator](): Iterator<Stage> {
    for (const stages of this.#byApi.values()) yield* stages.values();
  }

  /**
   * The stage that a host and a path lead to, and what of the path is left below it.
   *
   * A host that begins with an API's id is that API's, and one of `domains` has its own paths; any other is of the first API that has a
   * stage of that name, but for one of AWS's own, whose API is not here. A stage that nothing is deployed to is none.
   *
   * @param path begins with "/"
   */
  at(host: string | undefined, path: string): Found | undefined {
    const found = this.#find(host, path);
    return found?.stage.isDeployed ? found : undefined;
  }

  #find(host: string | undefined, path: string): Found | undefined {
    const name = host?.replace(/:\d+$/, "").toLowerCase() ?? "";
    const [, first = "", rest = ""] = /^\/([^/]*)(.*)$/.exec(path) ?? [];
    const { domains } = this.#surroundings;
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

  /** Returns true for a name of `domains`, the id of an API and a name of AWS: no page can point those at this machine. */
  isOwnHost(name: string): boolean {
    return (
      Object.hasOwn(this.#surroundings.domains, name) ||
      this.#byApi.has(name) ||
      regionOfHost(name) !== undefined
    );
  }

  /** Whether a host is one that clients use for an API; any other is this machine's. */
  isKnownHost(host: string): boolean {
    const name = host.replace(/:\d+$/, "").toLowerCase();
    return Object.hasOwn(this.#surroundings.domains, name) || this.#byApi.has(name.split(".")[0] ?? "");
  }
}

/** A stage that is reached by the API's own endpoint, where that is not switched off. */
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
      throw new ConfigurationError(`${where}: routeSettings["${key}"] is for a route that is not there.`);
  }
  return settings;
}

/** Source: AWS developer guide, quotas, and the model of API Gateway. */
function checkedVariables(
  where: string,
  variables: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const count = Object.keys(variables).length;
  if (count > MAX_VARIABLES)
    throw new ConfigurationError(`${where}: ${count} variables; a stage has ${MAX_VARIABLES} at most.`);
  for (const [name, value] of Object.entries(variables)) {
    if (!/^[A-Za-z0-9_]{1,64}$/.test(name) || !/^[A-Za-z0-9\-._~:/?#&=,]{1,512}$/.test(value)) {
      throw new ConfigurationError(
        `${where}: the variable ${JSON.stringify(name)} has a name or value that AWS does not take: letters, digits and -._~:/?#&=, in values.`,
      );
    }
  }
  // Nothing is inherited: a mapping may name any variable.
  return Object.assign(Object.create(null), variables);
}
