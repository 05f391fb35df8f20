import { DeliveryError } from "../errors.ts";
import { exportsOf, loadingFailure } from "../optional-packages.ts";
import type { AwsCredentials } from "./sigv4.ts";

/** Gives credentials: of the AWS SDK's form, so that each of its providers is one. */
export type CredentialProvider = () => Promise<AwsCredentials>;

/** How long before they end credentials are fetched anew, in milliseconds. */
const RENEW_BEFORE_MS = 5 * 60_000;
/** Shortest time between two fetches of credentials that end soon anyway, in milliseconds. */
const RENEW_EVERY_MS = 30_000;

/** How long a fetch that failed is not repeated, in milliseconds: a send would for each recipient. */
const FAILED_FOR_MS = 500;

/** How long a provider may take, in milliseconds. */
const FETCH_MS = 5000;

/** The credentials of now: fetched once, and anew before they end. */
export class Credentials {
  readonly #fetch: CredentialProvider;
  #known: AwsCredentials | undefined;
  #fetchedAt = 0;
  #failure: { readonly error: unknown; readonly until: number } | undefined;
  #fetching: Promise<AwsCredentials> | undefined;

  /** @param given a provider, or credentials that hold for good. Default: {@link environmentCredentials} */
  constructor(given: CredentialProvider | AwsCredentials = environmentCredentials) {
    this.#fetch = typeof given === "function" ? given : async () => given;
  }

  /**
   * At once where they are known, so that a call is signed in the turn that starts it.
   *
   * @throws DeliveryError when there are none
   */
  now(): AwsCredentials | Promise<AwsCredentials> {
    const known = this.#known;
    if (!known) return this.#renew();
    const endsIn = known.expiration === undefined ? Infinity : known.expiration.getTime() - Date.now();
    if (endsIn <= 0) return this.#renew();
    // Those that still hold are used meanwhile, whatever becomes of the attempt.
    if (endsIn < RENEW_BEFORE_MS && performance.now() - this.#fetchedAt > RENEW_EVERY_MS) {
      this.#renew().catch(() => undefined);
    }
    return known;
  }

  #renew(): Promise<AwsCredentials> {
    if (!this.#fetching) {
      this.#fetchedAt = performance.now();
      this.#fetching = this.#fetchNow().finally(() => {
        this.#fetching = undefined;
      });
    }
    return this.#fetching;
  }

  async #fetchNow(): Promise<AwsCredentials> {
    if (this.#failure && performance.now() < this.#failure.until) throw this.#failure.error;
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer for ${FETCH_MS} ms`)), FETCH_MS);
    });
    try {
      this.#known = await Promise.race([this.#fetch(), silence]);
      return this.#known;
    } catch (cause) {
      const error = cause instanceof DeliveryError ? cause : new CredentialsError(cause);
      this.#failure = { error, until: performance.now() + FAILED_FOR_MS };
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A provider failed: it may succeed the next time. */
export class CredentialsError extends DeliveryError {
  override readonly name: string = "CredentialsError";

  constructor(cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`AWS credentials could not be had: ${why}`, { code: "SALLYPORT_CREDENTIALS", status: 503, cause });
  }
}

/**
 * What the environment says: its access key, as Lambda gives one, or whatever the AWS SDK's default chain finds (profiles, SSO,
 * containers, EC2), for which the package `@aws-sdk/credential-provider-node` must be there.
 */
export async function environmentCredentials(): Promise<AwsCredentials> {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = process.env;
  if (accessKeyId && secretAccessKey) {
    return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
  }
  const { defaultProvider } = await providerChain();
  return defaultProvider()();
}

async function providerChain(): Promise<typeof import("@aws-sdk/credential-provider-node")> {
  try {
    return exportsOf(await import("@aws-sdk/credential-provider-node"));
  } catch (cause) {
    const neededBy = "The search for credentials in profiles, containers and instances";
    const failure = loadingFailure({ name: "@aws-sdk/credential-provider-node", neededBy }, cause);
    throw noCredentials(
      "Calls of AWS's Management API are signed, and the environment has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. " +
        `Set them, or set apiGateway: { credentials }. ${failure}`,
      cause,
    );
  }
}

function noCredentials(message: string, cause: unknown): DeliveryError {
  return new DeliveryError(message, { code: "SALLYPORT_CREDENTIALS", status: 503, cause });
}
