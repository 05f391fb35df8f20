import { gatewaySecret, hashSecret, isSecret } from "../../auth/gateways.ts";

/** The secret that the integrations of a gateway send, and the hashes that the app accepts. */
export interface SecretPlan {
  readonly secret: string;
  /** SHA-256 hashes of the accepted secrets, newest first, at most two. */
  readonly accepted: readonly string[];
}

/**
 * Determines the secret that the integrations must send.
 *
 * Only AWS stores the secret, and the database stores its hash. An interrupted run is therefore
 * continued from both. A secret that AWS can still send stays accepted.
 *
 * @param sent the secrets of the integrations at AWS, which are not necessarily deployed
 * @param recorded the accepted hashes, newest first
 * @param deployed the hash of the current deployment's secret, if it is known
 * @param others hashes of other gateways, which cannot be used for a second gateway
 */
export function planSecret(
  sent: readonly string[],
  recorded: readonly string[],
  deployed?: string,
  others: ReadonlySet<string> = new Set(),
): SecretPlan {
  const hashed = sent.filter(isSecret).map((secret) => [hashSecret(secret), secret] as const);
  const known = new Map(hashed.filter(([hash]) => !others.has(hash)));
  const [newest, former] = recorded;
  // The gateway is new to this database, or is imported.
  if (newest === undefined) {
    const [[hash, secret] = [], [other] = []] = known;
    if (hash === undefined || secret === undefined) return freshSecret(recorded);
    return { secret, accepted: other === undefined ? [hash] : [hash, other] };
  }
  const current = known.get(newest);
  if (current !== undefined) return { secret: current, accepted: recorded };
  // A rotation was interrupted before AWS received the new secret, which is therefore lost.
  const formerSecret = former === undefined ? undefined : known.get(former);
  if (formerSecret !== undefined && former !== undefined)
    return { secret: formerSecret, accepted: [former, newest] };
  return freshSecret([deployed ?? newest]);
}

/** Creates a new secret. The current secret stays accepted. */
export function freshSecret([current]: readonly string[]): SecretPlan {
  const secret = gatewaySecret();
  const hash = hashSecret(secret);
  return { secret, accepted: current === undefined ? [hash] : [hash, current] };
}
