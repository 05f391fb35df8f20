import { type Expression, type Kysely, sql } from "kysely";
import type { Database } from "../storage/database.ts";
import { prepared } from "../storage/prepared.ts";
import { type Limits, type RateLimits, reachedWindow, unlessReached } from "./rate-limits.ts";
import { hashToken, isToken, type Tokens } from "./tokens.ts";

/** A connect of which only its gateway, its address and a token's text are known. */
export interface Knock {
  readonly gatewayId: string;
  /** The block of addresses that is limited together. */
  readonly block: string;
  readonly token: string | undefined;
}

/** What was counted of a connect: shown again when the token has told the user. */
export type CountedKeys = ReadonlySet<string>;

interface Keys {
  readonly failures: string;
  readonly address: string;
  /** What comes before the user's id in the key of a user's limit. */
  readonly users: string;
  readonly hash: string;
}

type Count = (db: Kysely<never>, keys: Keys) => Promise<{ key: string }[]>;

/**
 * The limits of connects: of an address, of what failed from there, and of the user whose token is brought.
 *
 * One statement counts and judges all of them, so a connect is counted for its user before its token is spent. That the user's
 * limit was reached is said in its own place in the order, by {@link ConnectLimits.demandUser}.
 */
export class ConnectLimits {
  readonly #database: Database;
  readonly #limits: Limits;
  readonly #rateLimits: RateLimits;
  readonly #count: Count | undefined;
  readonly #countWithUser: Count | undefined;

  constructor(database: Database, limits: Limits, rateLimits: RateLimits, tokens: Tokens) {
    this.#database = database;
    this.#limits = limits;
    this.#rateLimits = rateLimits;
    const { connectsPerIp, connectsPerUser, failedConnectsPerIp } = limits;
    // Where nobody may connect, nothing is counted.
    if (connectsPerIp === 0 || failedConnectsPerIp === 0) return;
    this.#count = connectsPerIp === false ? undefined : counting(database, limits);
    const isUserLimited = connectsPerUser !== false && connectsPerUser > 0;
    this.#countWithUser = isUserLimited ? counting(database, limits, tokens) : this.#count;
  }

  /**
   * Counts a connect for its address and, where its token can be spent, for the token's user.
   *
   * @throws RefusedError with 429 when the address has connected, or failed, too often
   */
  async take(knock: Knock): Promise<CountedKeys> {
    const { connectsPerIp, failedConnectsPerIp } = this.#limits;
    const { block, gatewayId, token } = knock;
    const address = `connect ip ${gatewayId} ${block}`;
    const isUserKnowable = token !== undefined && isToken(token);
    const count = isUserKnowable ? this.#countWithUser : this.#count;
    const keys = {
      failures: failuresKey(knock),
      address,
      users: userKey(gatewayId, ""),
      hash: isUserKnowable ? hashToken(token) : "",
    };
    const rows = count
      ? await this.#database.writeOne((db) => count(db as unknown as Kysely<never>, keys))
      : [];
    const counted = new Set(rows.map(({ key }) => key));
    // A row counted says that the address had not failed too often either.
    if (connectsPerIp === false ? counted.size > 0 : counted.has(address)) return counted;
    await this.#rateLimits.check(this.#database.db, keys.failures, failedConnectsPerIp);
    await this.#rateLimits.takeAlone(address, connectsPerIp);
    return counted;
  }

  /** @throws RefusedError with 429 when the user has connected through the gateway too often */
  async demandUser(gatewayId: string, userId: string, counted: CountedKeys): Promise<void> {
    const key = userKey(gatewayId, userId);
    if (counted.has(key)) return;
    await this.#rateLimits.takeAlone(key, this.#limits.connectsPerUser);
  }

  /**
   * Counts a connect that may have been somebody guessing.
   *
   * In one statement: of guesses that race no more pass for misses than the limit allows.
   *
   * @throws RefusedError with 429 when the address has failed too often
   */
  async failed(knock: Knock): Promise<void> {
    const { failedConnectsPerIp } = this.#limits;
    await this.#rateLimits.takeAlone(failuresKey(knock), failedConnectsPerIp);
  }
}

function failuresKey({ gatewayId, block }: Knock): string {
  return `failed connect ${gatewayId} ${block}`;
}

function userKey(gatewayId: string, userId: string): string {
  return `connect ${gatewayId} ${userId}`;
}

/** @param tokens where the user is to be counted as well */
function counting(database: Database, limits: Limits, tokens?: Tokens): Count {
  const { db, now } = database;
  const { connectsPerIp, connectsPerUser, failedConnectsPerIp } = limits;
  const once = (key: Expression<string>) =>
    [sql<string>`${key}`.as("key"), now.as("window_started_at"), sql.lit(1).as("count")] as const;
  return prepared((value) => {
    const text = (name: keyof Keys) => sql<string>`cast(${value(name)} as text)`;
    const isReached = (key: keyof Keys, limit: number | false) =>
      limit === false
        ? sql<boolean>`false`
        : sql<boolean>`exists ${reachedWindow(db, now, text(key), limit)}`;
    const hasFailed = isReached("failures", failedConnectsPerIp);
    const address = db.selectNoFrom(once(text("address"))).where(sql<boolean>`not ${hasFailed}`);
    const user = tokens
      ?.spendable(db, text("hash"))
      .clearSelect()
      .select(once(sql<string>`${text("users")} || token.user_id`))
      .where(sql<boolean>`not ${hasFailed}`)
      .where(sql<boolean>`not ${isReached("address", connectsPerIp)}`);
    const addresses = connectsPerIp === false ? undefined : address;
    const rows = addresses && user ? addresses.unionAll(user as never) : (addresses ?? user);
    const [ipLimit, userLimit] = [sql.lit(Number(connectsPerIp)), sql.lit(Number(connectsPerUser))];
    const limit =
      addresses && user
        ? sql<number>`case when sallyport_counters.key = ${text("address")} then ${ipLimit} else ${userLimit} end`
        : addresses
          ? ipLimit
          : userLimit;
    return db
      .insertInto("sallyport_counters")
      .columns(["key", "window_started_at", "count"])
      .expression(rows as never)
      .onConflict(unlessReached(now, limit))
      .returning("key");
  });
}
