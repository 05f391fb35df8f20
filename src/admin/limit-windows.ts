import * as v from "valibot";
import { addressBlock, type CountedLimit, isOfAddress, parseLimitKey } from "../auth/limit-keys.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { optionsOf, parseOptions, rowLimit, searchedText } from "../options.ts";
import { type ChangeOptions, checkChangeOptions, checkUserId } from "../permissions/grants.ts";
import type { AdminServices } from "../services.ts";

/** An open window of a rate limit that is counted in the database. */
export interface LimitWindow {
  /** Identifies the window. */
  readonly key: string;
  readonly limit: CountedLimit;
  /** The user that the window counts, or `null` for a limit per address. */
  readonly user: string | null;
  /** The address that the window counts, or `null` for a limit per user. IPv6: the /64 network. */
  readonly address: string | null;
  /** Name of the gateway, its id if it was removed, or `null` for token requests. */
  readonly gateway: string | null;
  /** Path of the view that sets this limit, or `null` for the limit of the app. */
  readonly view: string | null;
  /** Number of events in this window. */
  readonly count: number;
  /** The limit in the current code, in events per minute. `false` if there is none. */
  readonly max: number | false;
  /** Seconds until the window ends. */
  readonly secondsLeft: number;
}

/** Selects the windows that `access.limits.list()` returns. */
export interface LimitFilter {
  readonly user?: string | undefined;
  /** An IPv4 address, or any IPv6 address in the /64 network. */
  readonly address?: string | undefined;
  /**
   * The last window of the previous page. Default: the first page.
   *
   * Windows are sorted by their counts. If a count rises between two pages, its window can be
   * missed.
   */
  readonly after?: Pick<LimitWindow, "key" | "count"> | undefined;
  /** Maximum number of windows, 1 to 1000. Default 100. */
  readonly limit?: number | undefined;
}

/** Selects the windows to clear: those of a user, of an address, or all. */
export type LimitsToClear = { readonly user: string } | { readonly address: string } | { readonly all: true };

const LIMIT_FILTER = optionsOf<LimitFilter>()({
  user: v.optional(searchedText),
  address: v.optional(v.string("must be an IP address")),
  after: v.optional(
    v.custom<Pick<LimitWindow, "key" | "count">>((value) => {
      const { key, count } = (value ?? {}) as Partial<LimitWindow>;
      return typeof key === "string" && !key.includes("\0") && Number.isSafeInteger(count);
    }, "must be a window of the previous page, with key and count"),
  ),
  limit: rowLimit,
});

/**
 * Returns the open windows, highest counts first.
 *
 * @throws ConfigurationError if the filter is invalid
 */
export async function listLimitWindows(
  services: AdminServices,
  filter: LimitFilter = {},
): Promise<readonly LimitWindow[]> {
  const { user, address, after, limit } = parseOptions("limits()", LIMIT_FILTER, filter);
  const subject = { user, address: address === undefined ? undefined : addressBlockOf("limits()", address) };
  const rows = await services.limits.rateLimits.windows(subject, limit, after);
  const gateways = new Map((await services.gateways.refresh()).map(({ id, name }) => [id, name]));
  return rows.flatMap(({ key, count, secondsLeft }) => {
    const parsed = parseLimitKey(key);
    if (!parsed) return [];
    const { gatewayId, view } = parsed;
    return {
      key,
      limit: parsed.limit,
      user: isOfAddress(parsed.limit) ? null : parsed.subject,
      address: isOfAddress(parsed.limit) ? parsed.subject : null,
      gateway: gatewayId === null ? null : (gateways.get(gatewayId) ?? gatewayId),
      view,
      count,
      max: maxOf(services, parsed.limit, view),
      secondsLeft,
    };
  });
}

/**
 * Clears windows, so that events are accepted again. The audit log stores `by` and `reason`.
 *
 * @returns the number of windows that were cleared
 * @throws ConfigurationError if an argument is invalid
 */
export async function clearLimitWindows(
  services: AdminServices,
  which: LimitsToClear,
  options: ChangeOptions = {},
): Promise<number> {
  checkChangeOptions(options);
  const { user, address, all, ...others } = (which ?? {}) as { user?: string; address?: string; all?: true };
  const criteria = [user, address, all].filter((value) => value !== undefined);
  if (criteria.length !== 1 || Object.keys(others).length > 0 || (all !== undefined && all !== true)) {
    throw new ConfigurationError(
      `clearLimits() received ${formatValue(which)}. Pass exactly one of { user }, { address } and { all: true }.`,
    );
  }
  if (user !== undefined) checkUserId(user);
  const block = address === undefined ? undefined : addressBlockOf("clearLimits()", address);
  return services.limits.rateLimits.clear({ user, address: block }, (cleared) => ({
    action: "clear-limits",
    ...{ by: options.by, reason: options.reason, user },
    details: { cleared, ...(block === undefined ? {} : { address: block }) },
  }));
}

function maxOf(services: AdminServices, limit: CountedLimit, view: string | null): number | false {
  return view === null ? services.limits.settings.app[limit] : services.limits.settings.at(view, limit).value;
}

function addressBlockOf(owner: string, address: unknown): string {
  const block = typeof address === "string" ? addressBlock(address.replace(/::\/64$/, "::")) : undefined;
  if (block !== undefined) return block;
  throw new ConfigurationError(
    `${owner}: address must be an IP address such as 203.0.113.7, but received ${formatValue(address)}. ` +
      "Pass an IPv4 or IPv6 address.",
  );
}
