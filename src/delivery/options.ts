import * as v from "valibot";
import { limitOption, objectWith, optionsOf, textOption, wholeNumberOption } from "../options.ts";
import type { CredentialProvider } from "./credentials.ts";
import type { ManagementApi } from "./management-api.ts";
import type { AwsCredentials } from "./sigv4.ts";

/** How messages are sent through the Management API of API Gateway. */
export interface ApiGatewayOptions {
  /**
   * Maximum number of requests that this process sends per second, without those that close connections. `false`: no limit. AWS allows
   * 10 000 per second for an account in a region, incoming events included. Default 5000.
   */
  readonly maxRequestsPerSecond?: number | false | undefined;
  /** Maximum number of requests in flight to one gateway, each on a connection of its own, from 1 to 10 000. Default 256. */
  readonly concurrency?: number | undefined;
  /**
   * Maximum size of the messages that wait to be sent in this process, in bytes, from 1 048 576. Beyond it, `send()` waits, and rejects
   * with a `DeliveryError` after ten seconds. Default 67 108 864 (64 MiB).
   */
  readonly maxQueuedBytes?: number | undefined;
  /** AWS credentials, or a function that returns them. Default: the access key of the environment, or the default chain of the AWS SDK. */
  readonly credentials?: CredentialProvider | AwsCredentials | undefined;
  /** The AWS region of gateways behind a domain of your own. Default: AWS_REGION. */
  readonly region?: string | undefined;
  /** Sends the requests in another way. Default: HTTP over kept connections, signed. */
  readonly client?: ManagementApi | undefined;
}

/** Names that credentials of the AWS SDK have. */
const CREDENTIAL_NAMES = [
  "accessKeyId",
  "secretAccessKey",
  "sessionToken",
  "expiration",
  "credentialScope",
  "accountId",
];

const CREDENTIALS = v.custom<CredentialProvider | AwsCredentials>(
  (value) => typeof value === "function" || isCredentials(value),
  // What was received is not repeated: it may be a secret.
  "must be { accessKeyId, secretAccessKey, sessionToken } with strings, or a function that returns a promise of them.",
);

function isCredentials(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { accessKeyId, secretAccessKey, sessionToken = "" } = value as Readonly<Record<string, unknown>>;
  return (
    [accessKeyId, secretAccessKey].every((text) => typeof text === "string" && text !== "") &&
    typeof sessionToken === "string" &&
    // The SDK adds names that begin with $.
    Object.keys(value).every((name) => CREDENTIAL_NAMES.includes(name) || name.startsWith("$"))
  );
}

/** The option `apiGateway`, with its defaults. */
export const apiGatewaySchema = optionsOf<ApiGatewayOptions>()({
  maxRequestsPerSecond: v.optional(
    limitOption((value) => Number.isFinite(value) && value >= 1, "a number of at least 1"),
    5000,
  ),
  concurrency: v.optional(wholeNumberOption(1, 10_000), 256),
  maxQueuedBytes: v.optional(wholeNumberOption(1024 * 1024, Number.MAX_SAFE_INTEGER), 64 * 1024 * 1024),
  credentials: v.optional(CREDENTIALS),
  region: v.optional(textOption(/^[a-z]{2,4}(-[a-z]+)+-\d$/, "an AWS region such as eu-west-1")),
  client: v.optional(
    objectWith<ManagementApi>(
      ["post", "delete", "close"],
      "an object with the methods post, delete and close",
      ["ready", "get"],
    ),
  ),
});

/** The bounds of sending. */
export interface SendingBounds {
  /** Requests per second. `Infinity`: no limit. */
  readonly perSecond: number;
  /** Requests in flight to one gateway. */
  readonly concurrency: number;
}

export function sendingBounds({
  maxRequestsPerSecond,
  concurrency,
}: {
  readonly maxRequestsPerSecond: number | false;
  readonly concurrency: number;
}): SendingBounds {
  return {
    perSecond: maxRequestsPerSecond === false ? Number.POSITIVE_INFINITY : maxRequestsPerSecond,
    concurrency,
  };
}
