import { ConfigurationError } from "../errors.ts";
import { shown } from "../shown.ts";
import type { CredentialProvider } from "./credentials.ts";
import type { AwsCredentials } from "./sigv4.ts";

/** How an app's sends go out. */
export interface DeliveryOptions {
  /**
   * Calls of the Management API that this process makes a second at most, evictions aside; `false` for as many as there are. AWS
   * allows an account 10 000 in a region, events that come in included. Default 5000.
   */
  readonly ratePerSecond?: number | false;
  /** Calls under way to one gateway at once, each on a connection of its own. Default 256. */
  readonly concurrency?: number;
  /** Who calls AWS. Default: the environment's access key, or the AWS SDK's default chain. */
  readonly credentials?: CredentialProvider | AwsCredentials;
  /** Where gateways behind a domain of your own are. Default: AWS_REGION. */
  readonly region?: string;
}

const DEFAULT_RATE_PER_SECOND = 5000;
const DEFAULT_CONCURRENCY = 256;

/** Options with their defaults. */
export interface SendingBounds {
  /** Calls a second; `Infinity` for as many as there are. */
  readonly perSecond: number;
  /** Calls under way to one gateway. */
  readonly concurrency: number;
}

/** @throws ConfigurationError for what cannot be */
export function checkedDelivery(options: DeliveryOptions): SendingBounds {
  const { ratePerSecond = DEFAULT_RATE_PER_SECOND, concurrency = DEFAULT_CONCURRENCY } = options;
  if (ratePerSecond !== false && !(Number.isFinite(ratePerSecond) && ratePerSecond >= 1)) {
    throw new ConfigurationError(
      `delivery.ratePerSecond is a number from 1, or false for none, not ${shown(ratePerSecond)}.`,
    );
  }
  if (!(Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= 10_000)) {
    throw new ConfigurationError(
      `delivery.concurrency is a whole number from 1 to 10 000, not ${shown(concurrency)}.`,
    );
  }
  return { perSecond: ratePerSecond === false ? Number.POSITIVE_INFINITY : ratePerSecond, concurrency };
}
