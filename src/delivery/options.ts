import * as v from "valibot";
import { limitOption, objectWith, optionsOf, textOption, wholeNumberOption } from "../options.ts";
import type { CredentialProvider } from "./credentials.ts";
import type { ManagementApi } from "./management-api.ts";
import type { AwsCredentials } from "./sigv4.ts";

/** Options for sending messages through the Management API of API Gateway. */
export interface ApiGatewayOptions {
  /**
   * Maximum number of requests that this process sends per second, or `false` for no limit.
   * Requests that close connections do not wait behind others. Default 5000.
   *
   * AWS allows 10 000 per second for an account in a region, including incoming events.
   */
  readonly maxRequestsPerSecond?: number | false | undefined;
  /**
   * Maximum number of requests in flight to one gateway, from 1 to 10 000. Each uses its own HTTP
   * connection. Default 256.
   */
  readonly concurrency?: number | undefined;
  /**
   * Maximum size of the messages that wait to be sent in this process, in bytes, at least 1 048
   * 576. Default 67 108 864 (64 MiB).
   *
   * Above the limit, `send()` waits. After ten seconds, it rejects with a `DeliveryError`.
   */
  readonly maxQueuedBytes?: number | undefined;
  /**
   * AWS credentials, or a function that returns them. Default: the access key in the environment
   * variables, or the default provider chain of the AWS SDK.
   */
  readonly credentials?: CredentialProvider | AwsCredentials | undefined;
  /** AWS region of gateways with a custom domain, such as "eu-west-1". Default: `AWS_REGION`. */
  readonly region?: string | undefined;
  /** Another implementation of the requests. Default: signed HTTP requests with keep-alive. */
  readonly client?: ManagementApi | undefined;
}

/** Property names of AWS SDK credentials. */
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
  // The value is not repeated, because it can be a secret.
  "must be { accessKeyId, secretAccessKey, sessionToken } with strings, or a function that returns a promise of them.",
);

function isCredentials(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { accessKeyId, secretAccessKey, sessionToken = "" } = value as Readonly<Record<string, unknown>>;
  return (
    [accessKeyId, secretAccessKey].every((text) => typeof text === "string" && text !== "") &&
    typeof sessionToken === "string" &&
    // The SDK adds properties that begin with $.
    Object.keys(value).every((name) => CREDENTIAL_NAMES.includes(name) || name.startsWith("$"))
  );
}

/** Schema of the option `apiGateway`, with its defaults. */
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

/** The limits for sending. */
export interface SendingBounds {
  /** Maximum number of requests per second. `Infinity` for no limit. */
  readonly perSecond: number;
  /** Maximum number of requests in flight to one gateway. */
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
