import { type Gateways, MAX_CACHE_AGE_MS } from "../../auth/gateways.ts";
import type { ControlPlane } from "./control-plane.ts";

/**
 * Time until every process has read a change of the record, in milliseconds. Running processes
 * cache the gateways.
 */
const KNOWN_AFTER_MS = MAX_CACHE_AGE_MS + 1000;
/**
 * Time until a deployment is served everywhere and calls of the former one have ended, in
 * milliseconds. It is twice the maximum time limit of an integration.
 */
export const DRAIN_MS = 60_000;
/**
 * The age at which a deployment is certainly served everywhere, in milliseconds by the clock of
 * AWS. It exceeds the differences between clocks and the duration of any deployment.
 */
const CERTAINLY_SERVED_AFTER_MS = 10 * 60_000;

/**
 * The context of the steps of a run. It contains the access to AWS and to the database, and the ids
 * of created resources. It knows when changes have reached every process.
 */
export class RunContext {
  readonly plane: ControlPlane;
  readonly gateways: Gateways;
  /** AWS's id of the API, or "" before it is created. */
  apiId = "";
  /** Id of the record in the database, or "" before it is created. */
  recordId = "";
  /** The endpoint of the API as returned by AWS, or "" before it is created. */
  apiEndpoint = "";
  /** Ids of integrations by route key. */
  readonly integrationIds = new Map<string, string>();
  /** Ids of routes by route key. */
  readonly routeIds = new Map<string, string>();
  // An interrupted run can have changed the record immediately before this one began.
  #recordKnownAt: number;
  #deploymentServedAt: number;

  /**
   * @param deployedAt creation time of the current deployment, in epoch milliseconds, or undefined
   *   if there is none
   */
  constructor(plane: ControlPlane, gateways: Gateways, deployedAt?: number) {
    this.plane = plane;
    this.gateways = gateways;
    const now = plane.now();
    this.#recordKnownAt = now + KNOWN_AFTER_MS;
    const isServed = deployedAt === undefined || now - deployedAt >= CERTAINLY_SERVED_AFTER_MS;
    this.#deploymentServedAt = isServed ? now : now + DRAIN_MS;
  }

  /** Call it after each change of the record. */
  markRecorded(): void {
    this.#recordKnownAt = this.plane.now() + KNOWN_AFTER_MS;
  }

  /** Call it after each deployment. */
  markDeployed(): void {
    this.#deploymentServedAt = this.plane.now() + DRAIN_MS;
  }

  /**
   * Waits until a change has reached every process.
   *
   * @param what `known`: every process has read the current record. `settled`: also, the deployment
   *   is served everywhere, so resources of the former one can be removed.
   * @param onWait called if a wait is necessary
   */
  async waitUntil(what: "known" | "settled", onWait: () => void = () => undefined): Promise<void> {
    const at =
      what === "known" ? this.#recordKnownAt : Math.max(this.#recordKnownAt, this.#deploymentServedAt);
    const ms = at - this.plane.now();
    if (ms <= 0) return;
    onWait();
    await this.plane.wait(ms);
  }
}
