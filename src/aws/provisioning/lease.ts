import { ConfigurationError } from "../../errors.ts";
import type { GatewayStore } from "../../storage/stores/gateways.ts";

/** Stores the leases of provisioning. */
export type LeaseStore = Pick<GatewayStore, "takeLease" | "renewLease" | "endLease">;

/**
 * The duration of a lease after its last renewal, and the interval of renewals, in milliseconds.
 */
const LEASE_MS = 60_000;
const RENEW_EVERY_MS = 15_000;

/**
 * Performs work under a lease, so that one run at a time provisions a gateway. Two concurrent runs
 * would create two APIs, because AWS does not require different names.
 *
 * @param work must call `renew` before each change. `renew` throws a ConfigurationError if this run
 *   paused and another one has taken over the lease.
 * @throws ConfigurationError if another run is in progress
 */
export async function withLease<Result>(
  store: LeaseStore,
  name: string,
  work: (renew: () => Promise<void>) => Promise<Result>,
): Promise<Result> {
  const owner = Math.floor(Math.random() * 2 ** 31);
  const ageMs = await store.takeLease(name, owner, LEASE_MS);
  if (ageMs !== undefined) {
    throw new ConfigurationError(
      `Another run provisions gateway "${name}" now, or was interrupted ${Math.ceil(ageMs / 1000)} s ago. Try again in ${Math.ceil((LEASE_MS - ageMs) / 1000)} s.`,
    );
  }
  const renew = async () => {
    if (await store.renewLease(name, owner)) return;
    throw new ConfigurationError(
      `Another run provisions gateway "${name}" now, because this one did not renew its lease in time. Wait until the other run ends, and run the command again.`,
    );
  };
  // Also renewed during waits. If this fails, the renewal before the next change reports it.
  const renewal = setInterval(() => void renew().catch(() => undefined), RENEW_EVERY_MS);
  renewal.unref();
  try {
    return await work(renew);
  } finally {
    clearInterval(renewal);
    // The lease expires by itself, so a failure here must not replace the result of the work.
    await store.endLease(name, owner).catch(() => undefined);
  }
}
