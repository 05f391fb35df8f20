import { ConfigurationError } from "../errors.ts";
import { ApiKeys } from "./api-keys.ts";
import { compileApi, type DeployableApi, type Deployment, type LocalApi, type LocalStage } from "./apis.ts";
import { routeArn } from "./arns.ts";
import type { Clock } from "./clock.ts";
import { Connections } from "./connections.ts";
import type { SigningCredentials } from "./signature.ts";
import { checkedThrottling, TokenBuckets } from "./throttling.ts";

/** Domains of one's own, each with the stages that its paths lead to; "" is the root. */
export type DomainMappings = Readonly<
  Record<string, Readonly<Record<string, { readonly apiId: string; readonly stage: string }>>>
>;

/** What the stages of all APIs have in common. */
interface Surroundings {
  readonly domains: DomainMappings;
  readonly clock: Clock;
  readonly credentials: SigningCredentials | undefined;
}

/** Stages of one API, until AWS raises it. Source: AWS developer guide, quotas. */
const MAX_STAGES = 10;

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
  readonly #buckets: TokenBuckets | undefined;
  readonly #region: string;
  deployment: Deployment;

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
    const throttling = checkedThrottling(`stage "${name}": throttling`, options.throttling);
    this.#buckets = throttling && new TokenBuckets(throttling, clock);
    this.#region = credentials?.region ?? DEFAULT_REGION;
    this.deployment = deployment;
  }

  /** Of one of its routes. */
  arnOf(routeKey: string): string {
    return routeArn(this.#region, this.apiId, this.name, routeKey);
  }

  /** Whether a route takes one more request now. */
  takes(routeKey: string): boolean {
    return this.#buckets?.take(routeKey) ?? true;
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
      for (const [name, stage] of Object.entries(api.stages)) this.deploy(api.id, name, api, stage);
    }
    for (const [domain, mappings] of Object.entries(domains)) {
      for (const [key, { apiId, stage }] of Object.entries(mappings)) {
        if (key.includes("/") || !this.#byApi.get(apiId)?.has(stage))
          throw new ConfigurationError(`domains: "${domain}/${key}" leads to no stage that is there.`);
      }
    }
  }

  /** Serves an API as it is now at a stage, which is made where it is not there. */
  deploy(apiId: string, name: string, api: DeployableApi, options: LocalStage = {}): void {
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(name)) {
      throw new ConfigurationError(
        `stage "${name}" is no stage name. Use 1 to 128 letters, digits, "_" or "-".`,
      );
    }
    const deployment = compileApi(`API "${apiId}"`, api, this.#surroundings.credentials);
    const stages = this.#byApi.get(apiId) ?? new Map<string, Stage>();
    this.#byApi.set(apiId, stages);
    const there = stages.get(name);
    if (there) {
      there.deployment = deployment;
      return;
    }
    if (stages.size === MAX_STAGES)
      throw new ConfigurationError(`API "${apiId}": an API has ${MAX_STAGES} stages at most.`);
    stages.set(name, new Stage(apiId, name, options, deployment, this.#surroundings));
  }

  *[Symbol.iterator](): Iterator<Stage> {
    for (const stages of this.#byApi.values()) yield* stages.values();
  }

  /**
   * The stage that a host and a path lead to, and what of the path is left below it.
   *
   * A host that begins with an API's id is that API's, and one of `domains` has its own paths; any other is of the first API that has a
   * stage of that name, but for one of AWS's own, whose API is not here.
   *
   * @param path begins with "/"
   */
  at(host: string | undefined, path: string): { readonly stage: Stage; readonly rest: string } | undefined {
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
    if (/\.execute-api\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$/.test(name)) return undefined;
    for (const stages of this.#byApi.values()) {
      const found = byEndpoint(stages.get(first), rest);
      if (found) return found;
    }
    return undefined;
  }

  /** Whether a host is one that clients use for an API; any other is this machine's. */
  isKnownHost(host: string): boolean {
    const name = host.replace(/:\d+$/, "").toLowerCase();
    return Object.hasOwn(this.#surroundings.domains, name) || this.#byApi.has(name.split(".")[0] ?? "");
  }
}

/** A stage that is reached by the API's own endpoint, where that is not switched off. */
function byEndpoint(stage: Stage | undefined, rest: string) {
  return stage && !stage.deployment.isEndpointDisabled ? { stage, rest } : undefined;
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
