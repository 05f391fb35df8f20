import { isDeepStrictEqual } from "node:util";
import type { Gateways } from "../../auth/gateways.ts";
import { ConfigurationError, ProvisioningError } from "../../errors.ts";
import type { Gateway } from "../../storage/stores/gateways.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import { type ActualApi, readActual, secretsOf } from "./actual.ts";
import type { ControlPlane } from "./control-plane.ts";
import { deployedHash, desiredApi, needsSecret } from "./desired.ts";
import { belongsToRecord, rejectStackApi } from "./find-api.ts";
import { type LeaseStore, withLease } from "./lease.ts";
import type { Comparison, Step } from "./plan.ts";
import { planAdoption } from "./plan-adoption.ts";
import { planDestruction, planRelease } from "./plan-destruction.ts";
import { removeSecretsStep } from "./plan-record.ts";
import { integrationOf } from "./plan-routes.ts";
import { planApply, planSteps } from "./plan-steps.ts";
import { isBeingMade, isBeingRemoved, recordedRegion } from "./recorded.ts";
import { type OnStep, type Plan, type Purpose, type RecordRun, Run, stepSummary } from "./run.ts";
import { DRAIN_MS, RunContext } from "./run-context.ts";
import { freshSecret, planSecret, type SecretPlan } from "./secrets.ts";
import { EMPTY_STATUS, type GatewayStatus, statusOf } from "./status.ts";

/** Returns the steps that change the state at AWS and in the database. */
type Planner = (comparison: Comparison) => readonly Step[];

/** The maximum number of attempts of a run. Each attempt reads the state again. */
const MAX_ATTEMPTS = 6;
/** Pause before the next attempt, in milliseconds. */
const RETRY_PAUSE_MS = 2000;

/**
 * Creates, changes and removes a gateway at AWS and its record in the database.
 *
 * Each run reads the state at AWS, which it finds by the record and by tags. A run that was
 * interrupted at any point is therefore completed by the next one. One run at a time works on a
 * gateway. A run that begins during another one throws a ConfigurationError.
 *
 * Each method throws a ProvisioningError if AWS rejects a call or cannot be reached. It throws a
 * StorageError if the database fails.
 */
export class Provisioner {
  readonly #gateways: Gateways;
  readonly #leases: LeaseStore;
  readonly #definition: GatewayDefinition;
  readonly #plane: ControlPlane;
  readonly #keep: RecordRun;

  constructor(parts: {
    readonly gateways: Gateways;
    readonly leases: LeaseStore;
    readonly definition: GatewayDefinition;
    readonly plane: ControlPlane;
    readonly keep: RecordRun;
  }) {
    this.#gateways = parts.gateways;
    this.#leases = parts.leases;
    this.#definition = parts.definition;
    this.#plane = parts.plane;
    this.#keep = parts.keep;
  }

  /** The name of the gateway. */
  get name(): string {
    return this.#definition.name;
  }

  /** Closes the connections to AWS. */
  close(): Promise<void> {
    return this.#plane.close();
  }

  /** Returns the steps that `apply` would perform now. It changes nothing. */
  plan(): Promise<Plan> {
    return this.#plan(planApply);
  }

  /**
   * Changes AWS and the database to match the definition.
   *
   * @param onStep called before each step and before each wait. Default: no notification
   * @returns the steps that were performed
   * @throws ProvisioningError if AWS rejects a call. The completed steps remain, and the next run
   *   continues from there.
   */
  apply(onStep?: OnStep): Promise<Plan> {
    return this.#run("apply", onStep, (run) => this.#execute(planApply, run));
  }

  /** Returns the steps that `destroy` would perform now. It changes nothing. */
  planDestruction(): Promise<Plan> {
    return this.#plan(planDestruction);
  }

  /**
   * Removes everything that `apply` created, at AWS and in the database. It closes all connections.
   *
   * @param onStep called before each step and before each wait. Default: no notification
   * @param confirmed the plan that the operator confirmed. Default: every step is allowed
   * @returns the steps that were performed
   * @throws ConfigurationError if a step was not confirmed. That step is not performed.
   */
  destroy(onStep?: OnStep, confirmed?: Plan): Promise<Plan> {
    return this.#run("destroy", onStep, (run) => this.#execute(restrictTo(confirmed, planDestruction), run));
  }

  /** Returns the steps that `release` would perform now. It changes nothing. */
  planRelease(): Promise<Plan> {
    return this.#plan(planRelease);
  }

  /**
   * Removes the tags at AWS and the record in the database, and leaves the API as it is.
   *
   * Use it to undo `import`, or to manage the API with a template. The app then denies every call
   * of the API.
   *
   * @param onStep called before each step and before each wait. Default: no notification
   * @param confirmed the plan that the operator confirmed. Default: every step is allowed
   * @returns the steps that were performed
   * @throws ConfigurationError if a step was not confirmed. That step is not performed.
   */
  release(onStep?: OnStep, confirmed?: Plan): Promise<Plan> {
    return this.#run("release", onStep, (run) => this.#execute(restrictTo(confirmed, planRelease), run));
  }

  /**
   * Replaces the secret of the gateway. The app accepts both secrets until all calls with the
   * former one have ended, so no event is denied. A rotation takes about one minute.
   *
   * @param onStep called before each step and before each wait. Default: no notification
   * @returns the steps that were performed
   * @throws ConfigurationError if the gateway was not applied yet, differs from its definition, or
   *   has no secret
   */
  rotateSecret(onStep?: OnStep): Promise<Plan> {
    return this.#run("rotate-secret", onStep, async (run) => {
      const { name } = this.#definition;
      const comparison = await this.#compare();
      const [current, former] = comparison.accepted;
      if (!needsSecret(this.#definition)) {
        throw new ConfigurationError(
          `Gateway "${name}" has no secret to rotate, because the policies of its functions authorize their calls. Change these policies instead.`,
        );
      }
      if (!comparison.found || !comparison.record || current === undefined) {
        throw new ConfigurationError(
          `Gateway "${name}" has not been applied yet, so it has no secret to rotate. Run gateway apply first.`,
        );
      }
      if (planSteps(comparison).length > 0) {
        throw new ConfigurationError(
          `Gateway "${name}" differs from its definition, or another rotation was interrupted. Run gateway apply first, or gateway plan to see what it would do.`,
        );
      }
      // Calls with the secret before the current one can be in flight.
      if (former !== undefined) await this.#contextFor(comparison).waitUntil("settled");
      const next = freshSecret([current]);
      await this.#execute(planApply, run, next);
      await this.#plane.wait(DRAIN_MS);
      await run.execute(removeSecretsStep(name, next.accepted.slice(0, 1)), this.#contextFor(comparison));
    });
  }

  /**
   * Assigns an existing API to this gateway. It adds the tags and the record, and changes nothing
   * else. `plan` then returns the differences.
   *
   * @param apiId AWS's id of the API, such as `a1b2c3d4e5`
   * @param onStep called before each step and before each wait. Default: no notification
   * @returns the steps that were performed
   * @throws ConfigurationError if the API is not a WebSocket API, belongs to another gateway or to
   *   a CloudFormation stack, or has its connections at another stage. Also if this gateway already
   *   has another API.
   */
  adopt(apiId: string, onStep?: OnStep): Promise<Plan> {
    return this.#run("import", onStep, async (run) => {
      const record = await this.#gateways.named(this.name);
      const steps = await planAdoption(this.#plane, this.#definition, record, apiId);
      const context = new RunContext(this.#plane, this.#gateways);
      context.recordId = record?.id ?? "";
      for (const step of steps) await run.execute(step, context);
    });
  }

  /**
   * Returns the addresses of the gateway, its DNS records, and its differences from the definition.
   *
   * A ConfigurationError that prevents a plan is returned in `problem`.
   */
  async status(): Promise<GatewayStatus> {
    let known: Omit<GatewayStatus, "steps" | "problem"> = EMPTY_STATUS;
    try {
      const comparison = await this.#compare();
      known = statusOf(comparison);
      return { ...known, steps: planApply(comparison).map(stepSummary), problem: null };
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return { ...known, steps: [], problem: error.message };
    }
  }

  async #plan(planner: Planner): Promise<Plan> {
    return { steps: planner(await this.#compare(planner)).map(stepSummary) };
  }

  /**
   * Reads the state at AWS and in the database, and returns it with the desired state.
   *
   * @param planner the planner that receives the result. A release skips the ownership checks.
   * @param given the secret that this run sets. Default: determined from AWS and the record
   */
  async #compare(planner?: Planner, given?: SecretPlan): Promise<Comparison> {
    const definition = this.#definition;
    const record = await this.#gateways.named(definition.name);
    this.#checkRegion(record);
    const { found, ...actual } = await readActual(this.#plane, definition, record);
    if (planner !== planRelease) this.#checkOwnership(found, record);
    const hasSecret = needsSecret(definition);
    const recorded = record?.secretHashes ?? [];
    const { secret, accepted } =
      given ??
      planSecret(
        secretsOf(found),
        recorded,
        deployedHash(found?.deployment?.Description, recorded),
        await this.#otherSecretHashes(),
      );
    return {
      definition,
      desired: desiredApi(definition, hasSecret ? secret : undefined),
      actual,
      found,
      record,
      now: this.#plane.now(),
      // A deployment can still send these secrets, even if the new definition needs none.
      accepted: hasSecret ? accepted : recorded,
    };
  }

  /** Returns the hashes of the secrets of all other gateways. */
  async #otherSecretHashes(): Promise<ReadonlySet<string>> {
    const gateways = await this.#gateways.list();
    return new Set(
      gateways.filter(({ name }) => name !== this.name).flatMap(({ secretHashes }) => secretHashes),
    );
  }

  /**
   * Performs the steps of a planner. After a transient failure it reads the state again, because
   * the outcome of the failed step is unknown.
   */
  async #execute(planner: Planner, run: Run, given?: SecretPlan): Promise<void> {
    let previousMessage = "";
    for (let attempt = 1; ; attempt++) {
      try {
        const comparison = await this.#compare(planner, given);
        const context = this.#contextFor(comparison);
        for (const step of planner(comparison)) await run.execute(step, context);
        return;
      } catch (error) {
        if (!(error instanceof ProvisioningError) || attempt === MAX_ATTEMPTS) throw error;
        // An error that repeats after a new reading was not caused by stale data. A throttled call
        // has already been retried.
        const canRetry = error.isStale
          ? error.message !== previousMessage
          : error.isTransient && !error.isThrottled;
        if (!canRetry) throw error;
        previousMessage = error.message;
        await this.#plane.wait(RETRY_PAUSE_MS);
      }
    }
  }

  /** @throws ConfigurationError if the record is in another region: connections cannot be moved */
  #checkRegion(record: Gateway | undefined): void {
    const { name, region } = this.#definition;
    const recorded = record && recordedRegion(record);
    if (recorded === undefined || recorded === region) return;
    throw new ConfigurationError(
      `Gateway "${name}" is in ${recorded}, and its connections cannot be moved to ${region}. Define another gateway in ${region}, and destroy this one when it has no connections left.`,
    );
  }

  /**
   * Checks that the API that was found belongs to the record, and to no CloudFormation stack.
   *
   * @throws ConfigurationError if the API is missing or belongs to another environment, or if the
   *   definition names another stage
   */
  #checkOwnership(found: ActualApi | undefined, record: Gateway | undefined): void {
    const { name, region, stage } = this.#definition;
    if (!found && record?.apiId && !isBeingRemoved(record)) {
      throw new ConfigurationError(
        `Gateway "${name}" is the API ${record.apiId}, which AWS does not show in ${region} to these credentials. Check the account of the credentials, and the region. If the API was deleted, run: npx sallyport gateway release "${name}"`,
      );
    }
    if (!found) return;
    const { ApiId } = found.api;
    rejectStackApi(found.api);
    if (!belongsToRecord(found.api, record)) {
      throw new ConfigurationError(
        `The API ${ApiId} in ${region} has the tag of gateway "${name}", but this database contains ${record?.apiId ?? "no API"} for that name. If the API belongs to another environment, give this gateway another name. Otherwise run: npx sallyport gateway import "${name}" ${ApiId}`,
      );
    }
    if (record && record.apiId !== null && !isBeingMade(record) && record.stage !== stage) {
      throw new ConfigurationError(
        `Gateway "${name}" serves the stage ${record.stage}, and its connections cannot be moved to ${stage}. Define another gateway for ${stage}, and destroy this one when it has no connections left.`,
      );
    }
  }

  #contextFor({ desired, found, record }: Comparison): RunContext {
    const context = new RunContext(this.#plane, this.#gateways, found?.deployment?.CreatedDate?.getTime());
    context.recordId = record?.id ?? "";
    context.apiId = found?.api.ApiId ?? "";
    context.apiEndpoint = found?.api.ApiEndpoint ?? "";
    for (const route of desired.routes) {
      const { key } = route;
      context.integrationIds.set(key, (found && integrationOf(route, found)?.IntegrationId) ?? "");
      context.routeIds.set(key, found?.routes.get(key)?.RouteId ?? "");
    }
    return context;
  }

  /** Performs a run under the lease of the gateway, and records its steps even if it fails. */
  #run(
    purpose: Purpose,
    onStep: OnStep = () => undefined,
    work: (run: Run) => Promise<void> = async () => undefined,
  ): Promise<Plan> {
    return withLease(this.#leases, this.name, async (renew) => {
      const run = new Run(renew, onStep);
      const keep = async () => {
        if (run.steps.length + run.unknown.length > 0) await this.#keep(purpose, run.steps, run.unknown);
      };
      try {
        await work(run);
      } catch (error) {
        // The error of the run is more useful than an error of the audit.
        await keep().catch(() => undefined);
        throw error;
      }
      await keep();
      return { steps: run.steps };
    });
  }
}

/**
 * Returns a planner that plans confirmed steps only.
 *
 * The planner throws a ConfigurationError if another step is necessary.
 */
function restrictTo(confirmed: Plan | undefined, planner: Planner): Planner {
  if (!confirmed) return planner;
  return (comparison) => {
    const steps = planner(comparison);
    const unconfirmed = steps.find(
      (step) => !confirmed.steps.some((each) => isDeepStrictEqual(each, stepSummary(step))),
    );
    if (!unconfirmed) return steps;
    throw new ConfigurationError(
      `Gateway "${comparison.definition.name}" changed after the confirmation: ${unconfirmed.action} ${unconfirmed.what} was not confirmed, and was not done. Run the command again, and check the new steps.`,
    );
  };
}
