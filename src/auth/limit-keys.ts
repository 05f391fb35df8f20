import ipaddr from "ipaddr.js";

/** The limits that are counted in the database, across all processes. */
export const COUNTED_LIMITS = [
  "tokensPerUser",
  "connectsPerUser",
  "connectsPerIp",
  "failedConnectsPerIp",
] as const;

export type CountedLimit = (typeof COUNTED_LIMITS)[number];

/** Identifies what a window of a limit counts. */
export interface LimitKey {
  readonly limit: CountedLimit;
  /** The user id, or the block of addresses. */
  readonly subject: string;
  /**
   * The gateway of the counted connects, or null for tokens. Tokens are not requested through a
   * gateway.
   */
  readonly gatewayId: string | null;
  /**
   * The view of the counted events. Null for all views that do not set the limit, and for all
   * tokens.
   */
  readonly view: string | null;
}

/** Returns the key under which a window is stored. {@link parseLimitKey} reads it. */
export function limitKey({ limit, subject, gatewayId, view }: LimitKey): string {
  return JSON.stringify([limit, subject, gatewayId, view]);
}

/** Returns what a stored window counts, or undefined for a key of another kind or version. */
export function parseLimitKey(key: string): LimitKey | undefined {
  try {
    const [limit, subject, gatewayId, view] = JSON.parse(key) as [CountedLimit, string, string, string];
    return COUNTED_LIMITS.includes(limit) ? { limit, subject, gatewayId, view } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns the prefixes of the keys of all windows of a user or an address, for any gateway and
 * view.
 */
export function keyPrefixes({
  user,
  address,
}: {
  readonly user?: string | undefined;
  readonly address?: string | undefined;
}): readonly string[] {
  const prefixOf = (limit: CountedLimit, subject: string) =>
    `${JSON.stringify([limit, subject]).slice(0, -1)},`;
  const [addressLimits, userLimits] = [
    COUNTED_LIMITS.filter(isOfAddress),
    COUNTED_LIMITS.filter((limit) => !isOfAddress(limit)),
  ];
  return [
    ...(user === undefined ? [] : userLimits.map((limit) => prefixOf(limit, user))),
    ...(address === undefined ? [] : addressLimits.map((limit) => prefixOf(limit, address))),
  ];
}

/** Returns true for limits that count events of an address. The others count events of a user. */
export function isOfAddress(limit: CountedLimit): boolean {
  return limit.endsWith("PerIp");
}

/** Returns a clause such as `User ann has reached connectsPerUser`. */
export function describeReached(key: string): string {
  const known = parseLimitKey(key);
  if (!known) return `${key} has reached its limit`;
  const subject = `${isOfAddress(known.limit) ? "Address" : "User"} ${known.subject}`;
  return `${subject} has reached ${known.limit}${known.view === null ? "" : ` of view ${known.view}`}`;
}

/**
 * Returns the block of addresses that one subscriber holds, or undefined for an invalid address.
 *
 * The block is an IPv4 address, or a /64 of IPv6. An IPv4-mapped IPv6 address counts as IPv4.
 */
export function addressBlock(text: string): string | undefined {
  if (!ipaddr.isValid(text)) return undefined;
  const address = ipaddr.process(text);
  if (address.kind() === "ipv4") return address.toString();
  const parts = (address as ipaddr.IPv6).parts.slice(0, 4);
  return `${parts.map((part) => part.toString(16)).join(":")}::/64`;
}
