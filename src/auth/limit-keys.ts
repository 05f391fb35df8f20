/** The limits that are counted in rows of the database, so that all processes count together. */
export const COUNTED_LIMITS = [
  "tokensPerUser",
  "connectsPerUser",
  "connectsPerIp",
  "failedConnectsPerIp",
] as const;

export type CountedLimit = (typeof COUNTED_LIMITS)[number];

/** What a window of a limit counts. */
export interface LimitKey {
  readonly limit: CountedLimit;
  /** The user's id, or the block of addresses that is limited together. */
  readonly subject: string;
  /** Connects through this gateway are counted; null for tokens, which are not requested through a gateway. */
  readonly gatewayId: string | null;
  /** Only events of this view are counted; null for all views without a value of their own, and for tokens of any view. */
  readonly view: string | null;
}

/** Returns the key under which a window is stored. {@link parseLimitKey} reads it. */
export function limitKey({ limit, subject, gatewayId, view }: LimitKey): string {
  return JSON.stringify([limit, subject, gatewayId, view]);
}

/** Returns what a stored window counts, or undefined for a key of another kind or of another version. */
export function parseLimitKey(key: string): LimitKey | undefined {
  try {
    const [limit, subject, gatewayId, view] = JSON.parse(key) as [CountedLimit, string, string, string];
    return COUNTED_LIMITS.includes(limit) ? { limit, subject, gatewayId, view } : undefined;
  } catch {
    return undefined;
  }
}

/** Returns what the keys of all windows of a subject begin with, whatever their gateway and view. */
export function keyPrefixes({
  user,
  address,
}: {
  readonly user?: string | undefined;
  readonly address?: string | undefined;
}): readonly string[] {
  const prefixOf = (limit: CountedLimit, subject: string) =>
    `${JSON.stringify([limit, subject]).slice(0, -1)},`;
  const [ofAddress, ofUser] = [
    COUNTED_LIMITS.filter(isOfAddress),
    COUNTED_LIMITS.filter((limit) => !isOfAddress(limit)),
  ];
  return [
    ...(user === undefined ? [] : ofUser.map((limit) => prefixOf(limit, user))),
    ...(address === undefined ? [] : ofAddress.map((limit) => prefixOf(limit, address))),
  ];
}

/** Returns true for limits that count events of an address. The others count events of a user. */
export function isOfAddress(limit: CountedLimit): boolean {
  return limit.endsWith("PerIp");
}

/** Such as `User ann has reached connectsPerUser`. */
export function describeReached(key: string): string {
  const known = parseLimitKey(key);
  if (!known) return `${key} has reached its limit`;
  const who = `${isOfAddress(known.limit) ? "Address" : "User"} ${known.subject}`;
  return `${who} has reached ${known.limit}${known.view === null ? "" : ` of view ${known.view}`}`;
}
