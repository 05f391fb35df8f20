import type { LimitStore } from "../storage/stores/limits.ts";
import { type CountedLimit, limitKey } from "./limit-keys.ts";
import type { LimitSettings, RateLimits } from "./limits.ts";

/** The gateway, view and address of a connect. */
export interface ConnectAttempt {
  readonly gatewayId: string;
  /** Path of the view. */
  readonly view: string;
  /** The block of addresses that shares a limit. */
  readonly block: string;
}

/** A key and its limit per minute. */
interface LimitedKey {
  readonly key: string;
  readonly limit: number | false;
}

/** The limits of connects: per address, failed connects per address, and per user. */
export class ConnectLimits {
  readonly #store: LimitStore;
  readonly #settings: LimitSettings;
  readonly #rateLimits: RateLimits;

  constructor(store: LimitStore, settings: LimitSettings, rateLimits: RateLimits) {
    this.#store = store;
    this.#settings = settings;
    this.#rateLimits = rateLimits;
  }

  /**
   * Counts a connect with a usable token, or an anonymous connect, for its address and its user.
   *
   * One statement counts both, or neither if a limit is reached. A connect that the limit of the
   * user rejects is not counted for the address, because other users may share it.
   *
   * @param userId null for an anonymous connect. The limit per user does not apply to it
   * @throws RequestError with 429 if one of the limits is reached
   */
  async take(attempt: ConnectAttempt, userId: string | null): Promise<void> {
    const address = this.#keyOf("connectsPerIp", attempt, attempt.block);
    const user =
      userId === null ? { key: "", limit: false as const } : this.#keyOf("connectsPerUser", attempt, userId);
    const counted = await this.#count(address, user);
    const missing = [address, user].filter(({ key, limit }) => limit !== false && !counted.has(key));
    if (missing.length === 0) return;
    for (const { key, limit } of [address, user]) await this.#rateLimits.check(key, limit);
    // The window of the reached limit has ended since the statement.
    for (const { key, limit } of missing) await this.#rateLimits.take(key, limit);
  }

  /**
   * Undoes the count of {@link take} for the address, after another limit of the user rejected the
   * connect.
   */
  async giveBack(attempt: ConnectAttempt): Promise<void> {
    const { key, limit } = this.#keyOf("connectsPerIp", attempt, attempt.block);
    if (limit !== false) await this.#store.uncount(key);
  }

  /**
   * Counts a failed connect. It may be an attempt to guess a token or to use a stolen one.
   *
   * If the limit is reached, it only reads, so a flood of bad tokens causes no writes. Checking and
   * counting are one statement, so concurrent attempts never exceed the limit.
   *
   * @throws RequestError with 429 if the limit is reached
   */
  async failed(attempt: ConnectAttempt): Promise<void> {
    const { key, limit } = this.#keyOf("failedConnectsPerIp", attempt, attempt.block);
    await this.#rateLimits.check(key, limit);
    await this.#rateLimits.take(key, limit);
  }

  #keyOf(
    limit: Exclude<CountedLimit, "tokensPerUser">,
    { gatewayId, view }: ConnectAttempt,
    subject: string,
  ): LimitedKey {
    const setting = this.#settings.at(view, limit);
    return { key: limitKey({ limit, subject, gatewayId, view: setting.view }), limit: setting.value };
  }

  /** Counts both keys if both limits allow it. Returns the keys that were counted. */
  async #count(address: LimitedKey, user: LimitedKey): Promise<ReadonlySet<string>> {
    if (address.limit === 0 || user.limit === 0) return new Set();
    if (address.limit !== false && user.limit !== false) {
      return this.#store.takeBoth(
        { key: user.key, limit: user.limit },
        { key: address.key, limit: address.limit },
      );
    }
    const [only] = [address, user].filter(({ limit }) => limit !== false);
    if (!only) return new Set();
    await this.#rateLimits.take(only.key, only.limit);
    return new Set([only.key]);
  }
}
