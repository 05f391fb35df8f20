import { type Gateways, MAX_AGE_MS } from "../../auth/gateways.ts";
import type { ControlPlane } from "./control-plane.ts";

/** When every process knows a change of our record, in milliseconds: those that run already know the gateways as they were a moment ago. */
const KNOWN_AFTER_MS = MAX_AGE_MS + 1000;
/**
 * When a deployment is served everywhere, and calls of the one before it have ended, in milliseconds: an integration's longest time,
 * twice.
 */
export const DRAIN_MS = 60_000;
/**
 * How old a deployment is by AWS's clock that has got around for certain, in milliseconds: clocks differ by less, and none takes so long
 * to be made.
 */
const CERTAINLY_SERVED_AFTER_MS = 10 * 60_000;

/** What the steps of a run work with: the two sides, ids that come up on the way, and until when what was done has to get around. */
export class RunContext {
  readonly plane: ControlPlane;
  readonly gateways: Gateways;
  /** AWS's id of the API; "" until there is one. */
  apiId = "";
  /** Id of our record; "" until there is one. */
  recordId = "";
  /** As AWS tells it; "" until there is one. */
  apiEndpoint = "";
  /** By route key. */
  readonly integrationIds = new Map<string, string>();
  /** By route key. */
  readonly routeIds = new Map<string, string>();
  // A run before this one may have changed the record a moment ago, and been cut off.
  #knownAt: number;
  #servedAt: number;

  /** @param deployedAt when what is served was deployed, in epoch milliseconds; undefined where nothing is */
  constructor(plane: ControlPlane, gateways: Gateways, deployedAt?: number) {
    this.plane = plane;
    this.gateways = gateways;
    const now = plane.now();
    this.#knownAt = now + KNOWN_AFTER_MS;
    const isServed = deployedAt === undefined || now - deployedAt >= CERTAINLY_SERVED_AFTER_MS;
    this.#servedAt = isServed ? now : now + DRAIN_MS;
  }

  /** To be called when our record has been changed. */
  recorded(): void {
    this.#knownAt = this.plane.now() + KNOWN_AFTER_MS;
  }

  /** To be called when something has been deployed. */
  deployed(): void {
    this.#servedAt = this.plane.now() + DRAIN_MS;
  }

  /**
   * Resolves when every process knows our record as it is; `settled`: and when what was deployed is served everywhere, so that what only
   * the former needed may go.
   *
   * @param told is called where there is something to wait for
   */
  async until(what: "known" | "settled", told: () => void = () => undefined): Promise<void> {
    const at = what === "known" ? this.#knownAt : Math.max(this.#knownAt, this.#servedAt);
    const ms = at - this.plane.now();
    if (ms <= 0) return;
    told();
    await this.plane.wait(ms);
  }
}
