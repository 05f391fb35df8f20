import { isDeepStrictEqual } from "node:util";
import type { Gateway, Gateways } from "../../auth/gateways.ts";
import { ConfigurationError, ProvisioningError } from "../../errors.ts";
import type { Database } from "../../storage/database.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { type ActualApi, readActual, secretsOf } from "./actual.ts";
import type { ControlPlane } from "./control-plane.ts";
import { deployedHash, desiredApi, needsSecret } from "./desired.ts";
import { isOurs, refuseStack } from "./find-api.ts";
import { withLease } from "./lease.ts";
import type { Comparison, Step } from "./plan.ts";
import { planAdoption } from "./plan-adoption.ts";
import { planDestruction, planRelease } from "./plan-destruction.ts";
import { forgetStep } from "./plan-record.ts";
import { integrationOf } from "./plan-routes.ts";
import { planned, planSteps } from "./plan-steps.ts";
import { isBeingMade, isBeingRemoved, recordedRegion } from "./recorded.ts";
import { type Keep, type OnStep, type Plan, type Purpose, Run, shownStep } from "./run.ts";
import { DRAIN_MS, RunContext } from "./run-context.ts";
import { freshSecret, planSecret, type SecretPlan } from "./secrets.ts";
import { type GatewayStatus, NOTHING, statusOf } from "./status.ts";

/** What is to be done about how things stand. */
type Think = (comparison: Comparison) => readonly Step[];

/** How often what is there is looked at anew because something failed on the way. */
const ROUNDS = 6;
/** Pause before the next look, in milliseconds. */
const ROUND_PAUSE_MS = 2000;

/**
 * Brings AWS to what a definition says. What is there is looked at each time, found by our record and by tag, so that a run which was cut off anywhere
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
  plan(): Promise<Plan> {
    return this.#plan(planned);
  }

  /**
   * Makes AWS as it is wanted.
   *
   * @returns what was done
   * @throws ControlPlaneError where AWS refuses; what was done until then stays, and the next run goes on from there
   */
  apply(told?: OnStep): Promise<Plan> {
    return this.#run("apply", told, (run) => this.#carryOut(planned, run));
  }

  /** What `destroy` would do now. */
  planDestruction(): Promise<Plan> {
    return this.#plan(planDestruction);
  }

  /**
   * Removes all that `apply` made, at AWS and in the database.
   *
   * @param agreed what somebody was shown and said yes to. Default: whatever there is
   * @throws ConfigurationError where something else is to be removed than was agreed to; it stays
   */
  destroy(told?: OnStep, agreed?: Plan): Promise<Plan> {
    return this.#run("destroy", told, (run) => this.#carryOut(within(agreed, planDestruction), run));
  }

  /** What `release` would do now. */
  planRelease(): Promise<Plan> {
    return this.#plan(planRelease);
  }

  /**
   * Leaves the API at AWS as it is, and knows it no more: the way back from `import`, and into the hands of a template. The app answers none of
   * its calls from then on.
   *
   * @param agreed as for `destroy`
   * @throws ConfigurationError as `destroy` does
   */
  release(told?: OnStep, agreed?: Plan): Promise<Plan> {
    return this.#run("release", told, (run) => this.#carryOut(within(agreed, planRelease), run));
  }

  /**
   * Gives the gateway another secret. Both are accepted until calls with the former one have ended, so that no event is refused.
   *
   * @throws ConfigurationError where the gateway was not applied yet, or has no secret
   */
  rotateSecret(told?: OnStep): Promise<Plan> {
    return this.#run("rotate-secret", told, async (run) => {
      const { name } = this.#definition;
      const comparison = await this.#look();
      const [current, former] = comparison.accepted;
      if (!needsSecret(this.#definition)) {
        throw new ConfigurationError(
          `Gateway "${name}" has no secret: who may invoke a function says its policy.`,
        );
      }
      if (!comparison.found || !comparison.record || current === undefined) {
        throw new ConfigurationError(`Gateway "${name}" has not been applied yet, which gives it a secret.`);
      }
      if (planSteps(comparison).length > 0) {
        throw new ConfigurationError(
          `Gateway "${name}" is not as it is defined, or another rotation was cut off. Run gateway apply first; gateway plan says what it would do.`,
        );
      }
      // Calls with the secret before the present one may be under way.
      if (former !== undefined) await this.#handFor(comparison).until("settled");
      const next = freshSecret([current]);
      await this.#carryOut(planned, run, next);
      await this.#plane.wait(DRAIN_MS);
      await run.make(forgetStep(name, next.accepted.slice(0, 1)), this.#handFor(comparison));
    });
  }

  /**
   * Makes an API that is there already this gateway's: it gets our tags, and nothing else changes. `plan` then says what differs.
   *
   * @throws ConfigurationError for an API that is not a WebSocket API or is another gateway's, where this gateway has one, or where its
   *   sockets are at another stage
   */
  adopt(apiId: string, told?: OnStep): Promise<Plan> {
    return this.#run("import", told, async (run) => {
      const record = await this.#gateways.named(this.name);
      const steps = await planAdoption(this.#plane, this.#definition, record, apiId);
      const hand = new RunContext(this.#plane, this.#gateways);
      hand.recordId = record?.id ?? "";
      for (const step of steps) await run.make(step, hand);
    });
  }

  /** How it stands: addresses, and what is not as it is wanted. */
  async status(): Promise<GatewayStatus> {
    let known: Omit<GatewayStatus, "steps" | "problem"> = NOTHING;
    try {
      const comparison = await this.#look();
      known = statusOf(comparison);
      return { ...known, steps: planned(comparison).map(shownStep), problem: null };
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return { ...known, steps: [], problem: error.message };
    }
  }

  async #plan(think: Think): Promise<Plan> {
    return { steps: think(await this.#look(think)).map(shownStep) };
  }

  /**
   * What is there beside what is wanted.
   *
   * @param think what it is for: to be released may also what is not as it should be
   * @param given the secret that this run itself gives the gateway; by default what is there says which
   */
  async #look(think?: Think, given?: SecretPlan): Promise<Comparison> {
    const definition = this.#definition;
    const record = await this.#gateways.named(definition.name);
    this.#refuseMove(record);
    const { found, ...actual } = await readActual(this.#plane, definition, record);
    if (think !== planRelease) this.#refuse(found, record);
    const isProved = needsSecret(definition);
    const recorded = record?.secretHashes ?? [];
    const { secret, accepted } =
      given ??
      planSecret(
        secretsOf(found),
        recorded,
        deployedHash(found?.deployment?.Description, recorded),
        await this.#othersSecrets(),
      );
    return {
      definition,
      desired: desiredApi(definition, isProved ? secret : undefined),
      actual,
      found,
      record,
      now: this.#plane.now(),
      // What a deployment may still send stays accepted, whoever serves next.
      accepted: isProved ? accepted : recorded,
    };
  }

  /** Hashes of what proves other gateways. */
  async #othersSecrets(): Promise<ReadonlySet<string>> {
    const gateways = await this.#gateways.list();
    return new Set(
      gateways.filter(({ name }) => name !== this.name).flatMap(({ secretHashes }) => secretHashes),
    );
  }

  /** Steps until none is left. After a failure that may be over, what is there is looked at anew, as nobody knows what was done. */
  async #carryOut(think: Think, run: Run, given?: SecretPlan): Promise<void> {
    let before = "";
    for (let round = 1; ; round++) {
      try {
        const comparison = await this.#look(think, given);
        const hand = this.#handFor(comparison);
        for (const step of think(comparison)) await run.make(step, hand);
        return;
      } catch (error) {
        if (!(error instanceof ProvisioningError) || round === ROUNDS) throw error;
        // What was refused as stale, and is again though it was looked at anew, is not: nor is it worth more patience than a call has.
        const isPassing = error.isStale ? error.message !== before : error.isPassing && !error.isThrottled;
        if (!isPassing) throw error;
        before = error.message;
        await this.#plane.wait(ROUND_PAUSE_MS);
      }
    }
  }

  /** Sockets cannot be taken to another region. */
  #refuseMove(record: Gateway | undefined): void {
    const { name, region } = this.#definition;
    const recorded = record && recordedRegion(record);
    if (recorded === undefined || recorded === region) return;
    throw new ConfigurationError(
      `Gateway "${name}" is in ${recorded}, and its sockets with it. Define another one in ${region}, and destroy this one when nobody is left.`,
    );
  }

  /** What has our tag may be another environment's, a stack's, or of before something was changed that cannot be. */
  #refuse(found: ActualApi | undefined, record: Gateway | undefined): void {
    const { name, region, stage } = this.#definition;
    if (!found && record?.apiId && !isBeingRemoved(record)) {
      throw new ConfigurationError(
        `Gateway "${name}" is the API ${record.apiId}, which AWS does not show in ${region} to these credentials. Are they of another account, or is it in another region? If it is gone, forget it: npx sallyport gateway release "${name}"`,
      );
    }
    if (!found) return;
    const { ApiId } = found.api;
    refuseStack(found.api);
    if (!isOurs(found.api, record)) {
      throw new ConfigurationError(
        `The API ${ApiId} in ${region} has the tag of gateway "${name}", and this database knows ${record?.apiId ?? "no API"} by that name. If it is another environment's, give this one another name; else run: npx sallyport gateway import "${name}" ${ApiId}`,
      );
    }
    if (record && record.apiId !== null && !isBeingMade(record) && record.stage !== stage) {
      throw new ConfigurationError(
        `Gateway "${name}" serves the stage ${record.stage}, and its sockets are there. Define another one for ${stage}, and destroy this one when nobody is left.`,
      );
    }
  }

  #handFor({ desired, found, record }: Comparison): RunContext {
    const hand = new RunContext(this.#plane, this.#gateways, found?.deployment?.CreatedDate?.getTime());
    hand.recordId = record?.id ?? "";
    hand.apiId = found?.api.ApiId ?? "";
    hand.apiEndpoint = found?.api.ApiEndpoint ?? "";
    for (const route of desired.routes) {
      const { key } = route;
      hand.integrationIds.set(key, (found && integrationOf(route, found)?.IntegrationId) ?? "");
      hand.routeIds.set(key, found?.routes.get(key)?.RouteId ?? "");
    }
    return hand;
  }

  /** One run at a time, of which is kept what it did. */
  #run(
    purpose: Purpose,
    told: OnStep = () => undefined,
    work: (run: Run) => Promise<void> = async () => undefined,
  ): Promise<Plan> {
    return withLease(this.#database, this.name, async (renew) => {
      const run = new Run(renew, told);
      const keep = async () => {
        if (run.steps.length + run.unknown.length > 0) await this.#keep(purpose, run.steps, run.unknown);
      };
      try {
        await work(run);
      } catch (error) {
        // What went wrong is worth more than that it could not be written down.
        await keep().catch(() => undefined);
        throw error;
      }
      await keep();
      return { steps: run.steps };
    });
  }
}

/** Thinks of nothing that was not agreed to. @throws ConfigurationError where something else would be done */
function within(agreed: Plan | undefined, think: Think): Think {
  if (!agreed) return think;
  return (comparison) => {
    const steps = think(comparison);
    const other = steps.find(
      (step) => !agreed.steps.some((each) => isDeepStrictEqual(each, shownStep(step))),
    );
    if (!other) return steps;
    throw new ConfigurationError(
      `Something else is there of "${comparison.definition.name}" now than was asked about: ${other.action} ${other.what}. It was not done; look again.`,
    );
  };
}
