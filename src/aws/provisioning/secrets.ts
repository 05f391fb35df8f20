import { gatewaySecret, hashSecret, isSecret } from "../../auth/gateways.ts";

/** The secret of a gateway's integrations, and what the app accepts meanwhile. */
export interface SecretPlan {
  readonly secret: string;
  /** SHA-256 of what is accepted, newest first; two at most. */
  readonly accepted: readonly string[];
}

/**
 * Which secret the integrations are to send. It is kept at AWS alone, and here as a hash; so whatever was cut off half-way is gone on with
 * from what both have, and what AWS may still be sending stays accepted.
 *
 * @param sent what AWS's integrations have, which need not be deployed
 * @param recorded the hashes that are accepted, newest first
 * @param deployed which of them is that of the present deployment, where it is known
 * @param others hashes that prove other gateways, and can prove no second one
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
  // A database that knows nothing of the gateway: a new one, or one that is imported.
  if (newest === undefined) {
    const [[hash, secret] = [], [other] = []] = known;
    if (hash === undefined || secret === undefined) return freshSecret(recorded);
    return { secret, accepted: other === undefined ? [hash] : [hash, other] };
  }
  const current = known.get(newest);
  if (current !== undefined) return { secret: current, accepted: recorded };
  // A rotation that was cut off before AWS heard of the new one, which nobody has any more.
  const before = former === undefined ? undefined : known.get(former);
  if (before !== undefined && former !== undefined) return { secret: before, accepted: [former, newest] };
  return freshSecret([deployed ?? newest]);
}

/** A new secret, beside which the one that AWS sends stays accepted. */
export function freshSecret([current]: readonly string[]): SecretPlan {
  const secret = gatewaySecret();
  const hash = hashSecret(secret);
  return { secret, accepted: current === undefined ? [hash] : [hash, current] };
}
