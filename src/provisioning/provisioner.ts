import { isDeepStrictEqual } from "node:util";
import type { DomainName } from "@aws-sdk/client-apigatewayv2";
import { ConfigurationError, ControlPlaneError } from "../errors.ts";
import type { GatewayDefinition } from "../gateways/definition.ts";
import type { Gateway, Gateways } from "../gateways/gateways.ts";
import type { Database } from "../storage/database.ts";
import { type ActualApi, readActual, secretsOf } from "./actual.ts";
import type { ControlPlane } from "./control-plane.ts";
import { deployedHash, desiredApi, endpointOf, needsSecret, urlOf } from "./desired.ts";
import { isOurs, refuseStack } from "./find-api.ts";
import { withLease } from "./lease.ts";
import type { Comparison, Hand, Step } from "./plan.ts";
import { planAdoption } from "./plan-adoption.ts";
import { planApi } from "./plan-api.ts";
import { planDestruction, planRelease } from "./plan-destruction.ts";
import { planDomains } from "./plan-domain.ts";
import { planForbidden, planFunctions } from "./plan-functions.ts";
import { forgetStep, planAcceptance, planForgetting, planRecord, planReplies } from "./plan-record.ts";
import { integrationOf, planRoutes } from "./plan-routes.ts";
import { planDeployment, planNoAutoDeploy, planStage } from "./plan-stage.ts";
import { freshSecret, planSecret, type SecretPlan } from "./secrets.ts";

/** What is to be done, in order. Nothing to do: everything is as it is wanted. */
export interface Plan {
  readonly steps: readonly Pick<Step, "action" | "what" | "details">[];
}

/** How a gateway stands. */
export interface GatewayStatus extends Plan {
  /** AWS's id of the API; null where there is none. */
  readonly apiId: string | null;
  /** Where browsers connect to. */
  readonly url: string | null;
  /** Base of the Management API. */
  readonly endpoint: string | null;
  /** When what the stage serves was deployed. */
  readonly deployedAt: Date | null;
  /** How many secrets are accepted: two during a rotation. */
  readonly secrets: number;
  /** What is to be written into DNS, of each domain that is wanted and there. */
  readonly dns: readonly DnsRecord[];
}

/** A record that leads from a domain of one's own to API Gateway. */
export interface DnsRecord {
  readonly name: string;
  /** A CNAME to it, or an alias where the name is the zone's own. */
  readonly target: string;
  /** The hosted zone of the target, which an alias in Route 53 takes. */
  readonly hostedZoneId: string;
  /** Whether the domain is served, and what it waits for where it is not, in AWS's words: `AVAILABLE`, `UPDATING`, `PENDING_CERTIFICATE_REIMPORT`, … */
  readonly status: string;
}

/** What a run was for. */
export type Run = "apply" | "destroy" | "release" | "rotate-secret" | "import";

/** Keeps what a run has done, whether or not it came to its end. */
export type Keep = (run: Run, steps: Plan["steps"]) => Promise<void>;

/** Told of each step before it is made. */
export type Told = (step: Pick<Step, "action" | "what" | "details">) => void;

/** What is to be done about how things stand. */
type Think = (comparison: Comparison) => readonly Step[];

/** How often what is there is looked at anew because something failed on the way. */
const ROUNDS = 6;
/** Pause before the next look, in milliseconds. */
const ROUND_PAUSE_MS = 2000;
/** How long calls with the former secret may be under way after a deployment, in milliseconds: an integration's longest time, twice. */
const DRAIN_MS = 60_000;

/**
 * Brings AWS to what a definition says. What is there is looked at each time, found by tag, so that a run which was cut off anywhere
 * is gone on with by the next one.
 */
export class Provisioner {
  readonly #database: Database;
  readonly #gateways: Gateways;
  readonly #definition: GatewayDefinition;
  readonly #plane: ControlPlane;
  readonly #keep: Keep;

  constructor(parts: {
    readonly database: Database;
    readonly gateways: Gateways;
    readonly definition: GatewayDefinition;
    readonly plane: ControlPlane;
    readonly keep: Keep;
  }) {
    this.#database = parts.database;
    this.#gateways = parts.gateways;
    this.#definition = parts.definition;
    this.#plane = parts.plane;
    this.#keep = parts.keep;
  }

  /** Of the gateway. */
  get name(): string {
    return this.#definition.name;
  }

  /** Lets go of the connections to AWS. */
  close(): Promise<void> {
    return this.#plane.close();
  }

  /** What `apply` would do now. It changes nothing. */
  async plan(): Promise<Plan> {
    const { steps } = await this.#look(planned);
    return { steps: steps.map(shownStep) };
  }

  /**
   * Makes AWS as it is wanted.
   *
   * @returns what was done
   * @throws ControlPlaneError where AWS refuses; what was done until then stays, and the next run goes on from there
   */
  apply(told: Told = () => undefined): Promise<Plan> {
    return this.#run("apply", (made) => this.#carryOut(planned, told, made));
  }

  /** What `destroy` would do now. */
  async planDestruction(): Promise<Plan> {
    const { steps } = await this.#look(planDestruction);
    return { steps: steps.map(shownStep) };
  }

  /**
   * Removes all that `apply` made, at AWS and in the database.
   *
   * @param agreed what somebody was shown and said yes to. Default: whatever there is
   * @throws ConfigurationError where something else is to be removed than was agreed to; then nothing is
   */
  destroy(told: Told = () => undefined, agreed?: Plan): Promise<Plan> {
    return this.#remove("destroy", planDestruction, told, agreed);
  }

  /** What `release` would do now. */
  async planRelease(): Promise<Plan> {
    const { steps } = await this.#look(planRelease);
    return { steps: steps.map(shownStep) };
  }

  /**
   * Leaves the API at AWS as it is, and knows it no more: the way back from `import`, and into the hands of a template. The app answers none of
   * its calls from then on.
   *
   * @param agreed as for `destroy`
   * @throws ConfigurationError as `destroy` does
   */
  release(told: Told = () => undefined, agreed?: Plan): Promise<Plan> {
    return this.#remove("release", planRelease, told, agreed);
  }

  #remove(run: "destroy" | "release", think: Think, told: Told, agreed: Plan | undefined): Promise<Plan> {
    return this.#run(run, async (made) => {
      const { steps } = await this.#look(think);
      if (agreed && !isDeepStrictEqual(steps.map(shownStep), agreed.steps)) {
        throw new ConfigurationError(
          `Something else is there of "${this.name}" now than was asked about. Nothing was removed; look again.`,
        );
      }
      await this.#carryOut(think, told, made);
    });
  }

  /**
   * Gives the gateway another secret. Both are accepted until calls with the former one have ended, so that no event is refused.
   *
   * @throws ConfigurationError where the gateway was not applied yet, or has no secret
   */
  rotateSecret(told: Told = () => undefined): Promise<Plan> {
    return this.#run("rotate-secret", async (made) => {
      const { name } = this.#definition;
      const { comparison, steps } = await this.#look(wanted);
      const [current, former] = comparison.accepted;
      if (!needsSecret(this.#definition)) {
        throw new ConfigurationError(
          `Gateway "${name}" has no secret: who may invoke a function says its policy.`,
        );
      }
      if (!comparison.found || !comparison.record || current === undefined) {
        throw new ConfigurationError(`Gateway "${name}" has not been applied yet, which gives it a secret.`);
      }
      if (steps.length > 0) {
        throw new ConfigurationError(
          `Gateway "${name}" is not as it is defined, or another rotation was cut off. Run gateway apply first; gateway plan says what it would do.`,
        );
      }
      // Calls with the secret before the present one may be under way.
      if (former !== undefined) await this.#plane.wait(DRAIN_MS);
      const next = freshSecret([current]);
      await this.#carryOut(planned, told, made, next);
      await this.#plane.wait(DRAIN_MS);
      const forget = forgetStep(name, next.accepted.slice(0, 1));
      await made.step(forget, told, this.#handFor(comparison));
    });
  }

  /**
   * Makes an API that is there already this gateway's: it gets our tag, and nothing else changes. `plan` then says what differs.
   *
   * @throws ConfigurationError for an API that is not a WebSocket API or is another gateway's, or where this gateway has one
   */
  adopt(apiId: string, told: Told = () => undefined): Promise<Plan> {
    return this.#run("import", async (made) => {
      const record = await this.#gateways.named(this.name);
      const steps = await planAdoption(this.#plane, this.#definition, record, apiId);
      const hand = { ...this.#emptyHand(), recordId: record?.id ?? "" };
      for (const step of steps) await made.step(step, told, hand);
    });
  }

  /** How it stands: addresses, and what is not as it is wanted. */
  async status(): Promise<GatewayStatus> {
    const { steps, comparison } = await this.#look(planned);
    const { found, actual, record } = comparison;
    const { ApiId = "", ApiEndpoint = "" } = found?.api ?? {};
    return {
      apiId: found ? ApiId : null,
      url: found ? urlOf(this.#definition, ApiEndpoint, ApiId) : null,
      endpoint: found ? endpointOf(this.#definition, ApiEndpoint, ApiId) : null,
      deployedAt: found?.deployment?.CreatedDate ?? null,
      secrets: record?.secretHashes.length ?? 0,
      dns: dnsOf(this.#definition, actual.domains),
      steps: steps.map(shownStep),
    };
  }

  /** @param given the secret that this run itself gives the gateway; by default what is there says which */
  async #look(
    think: Think,
    given?: SecretPlan,
  ): Promise<{ readonly comparison: Comparison; readonly steps: readonly Step[] }> {
    const definition = this.#definition;
    const record = await this.#gateways.named(definition.name);
    refuseMove(definition, record);
    const actual = await readActual(this.#plane, definition, record);
    this.#refuseOthers(actual.found, record);
    const isProved = needsSecret(definition);
    const recorded = record?.secretHashes ?? [];
    const { secret, accepted } =
      given ??
      planSecret(
        secretsOf(actual.found),
        recorded,
        deployedHash(actual.found?.deployment?.Description, recorded),
      );
    const desired = desiredApi(definition, isProved ? secret : undefined);
    const comparison: Comparison = {
      definition,
      desired,
      actual,
      found: actual.found,
      record,
      now: this.#plane.now(),
      // What a deployment may still send stays accepted, whoever serves next.
      accepted: isProved ? accepted : (record?.secretHashes ?? []),
    };
    return { comparison, steps: think(comparison) };
  }

  /** Steps until none is left. After a failure that may be over, what is there is looked at anew, as nobody knows what was done. */
  async #carryOut(think: Think, told: Told, made: Made, given?: SecretPlan): Promise<void> {
    let before = "";
    for (let round = 1; ; round++) {
      try {
        const { comparison, steps } = await this.#look(think, given);
        const hand = this.#handFor(comparison);
        for (const step of steps) await made.step(step, told, hand);
        return;
      } catch (error) {
        if (!(error instanceof ControlPlaneError) || round === ROUNDS) throw error;
        // What was refused as stale, and is again though it was looked at anew, is not: nor is it worth more patience than a call has.
        const isPassing = error.isStale ? error.message !== before : error.isPassing && !error.isThrottled;
        if (!isPassing) throw error;
        before = error.message;
        await this.#plane.wait(ROUND_PAUSE_MS);
      }
    }
  }

  /** What has our tag may be another environment's, a stack's, or of before something was changed that cannot be. */
  #refuseOthers(found: ActualApi | undefined, record: Gateway | undefined): void {
    const { name, region, stage } = this.#definition;
    if (!found) return;
    const { ApiId } = found.api;
    refuseStack(found.api);
    if (!isOurs(found.api, record)) {
      throw new ConfigurationError(
        `The API ${ApiId} in ${region} has the tag of gateway "${name}", and this database knows ${record?.apiId ?? "no API"} by that name. If it is another environment's, give this one another name; else run: npx sallyport gateway import "${name}" ${ApiId}`,
      );
    }
    if (record && record.apiId !== null && record.stage !== stage) {
      throw new ConfigurationError(
        `Gateway "${name}" serves the stage ${record.stage}, and its sockets are there. Define another one for ${stage}, and destroy this one when nobody is left.`,
      );
    }
  }

  #emptyHand(): Hand {
    const none = new Map<string, string>();
    return {
      plane: this.#plane,
      gateways: this.#gateways,
      apiId: "",
      recordId: "",
      apiEndpoint: "",
      integrationIds: none,
      routeIds: none,
    };
  }

  #handFor({ desired, found, record }: Comparison): Hand {
    return {
      ...this.#emptyHand(),
      recordId: record?.id ?? "",
      apiId: found?.api.ApiId ?? "",
      apiEndpoint: found?.api.ApiEndpoint ?? "",
      integrationIds: new Map(
        desired.routes.map(({ key }) => [key, (found && integrationOf(key, found)?.IntegrationId) ?? ""]),
      ),
      routeIds: new Map(desired.routes.map(({ key }) => [key, found?.routes.get(key)?.RouteId ?? ""])),
    };
  }

  /** One run at a time, of which is kept what it did. */
  #run(run: Run, work: (made: Made) => Promise<void>): Promise<Plan> {
    return withLease(this.#database, this.#definition.name, async (renew) => {
      const made = new Made(renew);
      try {
        await work(made);
      } finally {
        if (made.steps.length > 0) await this.#keep(run, made.steps);
      }
      return { steps: made.steps };
    });
  }
}

/** The steps that a run has made. */
class Made {
  readonly steps: Plan["steps"][number][] = [];
  readonly #renew: () => Promise<void>;

  constructor(renew: () => Promise<void>) {
    this.#renew = renew;
  }

  async step(step: Step, told: Told, hand: Hand): Promise<void> {
    hand.plane.checkGoingOn();
    await this.#renew();
    told(shownStep(step));
    await step.run(hand);
    this.steps.push(shownStep(step));
  }
}

function dnsOf({ domains }: GatewayDefinition, there: readonly DomainName[]): readonly DnsRecord[] {
  const names = [...new Set(domains.map(({ name }) => name))];
  return names.flatMap((name) => {
    const domain = there.find(({ DomainName }) => DomainName === name);
    const {
      ApiGatewayDomainName: target,
      HostedZoneId: hostedZoneId = "",
      DomainNameStatus: status = "",
    } = domain?.DomainNameConfigurations?.[0] ?? {};
    return target === undefined ? [] : [{ name, target, hostedZoneId, status }];
  });
}

/** Sockets cannot be taken to another region. */
function refuseMove({ name, region }: GatewayDefinition, record: Gateway | undefined): void {
  const [, recorded = region] = /\.execute-api\.([a-z0-9-]+)\./.exec(record?.endpoint ?? "") ?? [];
  if (recorded === region) return;
  throw new ConfigurationError(
    `Gateway "${name}" is in ${recorded}, and its sockets with it. Define another one in ${region}, and destroy this one when nobody is left.`,
  );
}

/** In the order in which a run may be cut off anywhere: what is called comes before what calls it, and the deployment last. */
function wanted(comparison: Comparison): readonly Step[] {
  return [
    ...planApi(comparison),
    ...planNoAutoDeploy(comparison),
    ...planRoutes(comparison),
    ...planFunctions(comparison),
    ...planStage(comparison),
    ...planDomains(comparison),
    ...planRecord(comparison),
    ...planAcceptance(comparison),
    ...planDeployment(comparison),
    ...planReplies(comparison),
    ...planForbidden(comparison),
  ];
}

/** The same, and what is to be forgotten once everything is so. */
function planned(comparison: Comparison): readonly Step[] {
  const steps = wanted(comparison);
  return steps.length === 0 ? planForgetting(comparison) : steps;
}

function shownStep({ action, what, details }: Step): Plan["steps"][number] {
  return { action, what, details };
}
