import * as v from "valibot";
import { type CountedLimit, isOfAddress, parseLimitKey } from "../auth/limit-keys.ts";
import { addressBlock } from "../auth/rate-limits.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { optionsOf, parseOptions, rowLimit, searchedText } from "../options.ts";
import { type ChangeOptions, checkChangeOptions, checkUserId } from "../permissions/grants.ts";
import type { Services } from "../services.ts";

/** An open window of a limit that is counted in the database. */
export interface LimitWindow {
  /** Identifies the window. */
  readonly key: string;
  readonly limit: CountedLimit;
  /** Events of this user are counted; null for limits of an address. */
  readonly user: string | null;
  /** Events from this address are counted, an IPv6 address as its /64; null for limits of a user. */
  readonly address: string | null;
  /** Name of the gateway, or its id if it was removed; null for tokens. */
  readonly gateway: string | null;
  /** Path of the view that has this limit as its own; null for the app's limit. */
  readonly view: string | null;
  /** Events counted in this window. */
  readonly count: number;
  /** The limit that this code declares, per minute. `false`: none. */
  readonly max: number | false;
  /** Until the window ends. */
  readonly secondsLeft: number;
}

/** Which windows. */
export interface LimitFilter {
  readonly user?: string | undefined;
  /** An IPv4 address, or any address of the /64 of an IPv6 one. */
  readonly address?: string | undefined;
  /**
   * The last window of the page before: only windows that come after it in the list. Default: none. The order is that of the counts, so
   * a window whose count rises between two pages can be missed.
   */
  readonly after?: Pick<LimitWindow, "key" | "count"> | undefined;
  /** At most this many. Default 100, at most 1000. */
  readonly limit?: number | undefined;
}

/** Which windows to clear: those of a user, of an address, or all. */
export type LimitsToClear = { readonly user: string } | { readonly address: string } | { readonly all: true };

const LIMIT_FILTER = optionsOf<LimitFilter>()({
  user: v.optional(searchedText),
  address: v.optional(v.string("must be an IP address")),
  after: v.optional(
    v.custom<Pick<LimitWindow, "key" | "count">>((value) => {
      const { key, count } = (value ?? {}) as Partial<LimitWindow>;
      return typeof key === "string" && !key.includes("\0") && Number.isSafeInteger(count);
    }, "must be a window of the page before, with key and count"),
  ),
  limit: rowLimit,
});

/** Returns the open windows, those with the highest counts first. */
export async function listLimitWindows(
  services: Services,
  filter: LimitFilter = {},
): Promise<readonly LimitWindow[]> {
  const { user, address, after, limit } = parseOptions("limits()", LIMIT_FILTER, filter);
  const subject = { user, address: address === undefined ? undefined : blockOf("limits()", address) };
  const rows = await services.rateLimits.windows(subject, limit, after);
  const gateways = new Map((await services.gateways.listAnew()).map(({ id, name }) => [id, name]));
  return rows.flatMap(({ key, count, secondsLeft }) => {
    const known = parseLimitKey(key);
    if (!known) return [];
    const { gatewayId, view } = known;
    return {
      key,
      limit: known.limit,
      user: isOfAddress(known.limit) ? null : known.subject,
      address: isOfAddress(known.limit) ? known.subject : null,
      gateway: gatewayId === null ? null : (gateways.get(gatewayId) ?? gatewayId),
      view,
      count,
      max: maxOf(services, known.limit, view),
      secondsLeft,
    };
  });
}

/**
 * Clears windows, so that events are accepted again. The audit stores who did it and why.
 *
 * @returns how many windows were cleared
 */
export async function clearLimitWindows(
  services: Services,
  which: LimitsToClear,
  options: ChangeOptions = {},
): Promise<number> {
  checkChangeOptions(options);
  const { user, address, all, ...others } = (which ?? {}) as { user?: string; address?: string; all?: true };
  const given = [user, address, all].filter((value) => value !== undefined);
  if (given.length !== 1 || Object.keys(others).length > 0 || (all !== undefined && all !== true)) {
    throw new ConfigurationError(
      `clearLimits() expects { user }, { address } or { all: true }, but received ${formatValue(which)}.`,
    );
  }
  if (user !== undefined) checkUserId(user);
  const block = address === undefined ? undefined : blockOf("clearLimits()", address);
  const cleared = await services.database.transaction(async (db) => {
    const count = await services.rateLimits.clear(db, { user, address: block });
    await services.audit.record(db, await services.changeLog.append(db), {
      action: "clear-limits",
      ...{ by: options.by, reason: options.reason, user },
      details: { cleared: count, ...(block === undefined ? {} : { address: block }) },
    });
    return count;
  });
  return cleared;
}

function maxOf(services: Services, limit: CountedLimit, view: string | null): number | false {
  return view === null ? services.limits.app[limit] : services.limits.at(view, limit).value;
}

function blockOf(owner: string, address: unknown): string {
  const block = typeof address === "string" ? addressBlock(address.replace(/::\/64$/, "::")) : undefined;
  if (block !== undefined) return block;
  throw new ConfigurationError(
    `${owner}: address must be an IP address such as 203.0.113.7, but received ${formatValue(address)}.`,
  );
}
