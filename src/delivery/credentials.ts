import { DeliveryError } from "../errors.ts";
import { exportsOf, loadingFailure } from "../optional-packages.ts";
import type { AwsCredentials } from "./sigv4.ts";

/** Returns AWS credentials. Each credential provider of the AWS SDK has this type. */
export type CredentialProvider = () => Promise<AwsCredentials>;

/** How long before their expiration credentials are fetched again, in milliseconds. */
const RENEW_BEFORE_MS = 5 * 60_000;
/** Minimum time between two fetches of credentials that expire soon, in milliseconds. */
const RENEW_EVERY_MS = 30_000;

/**
 * How long a failed fetch is not repeated, in milliseconds. A send would repeat it per recipient.
 */
const FAILED_FOR_MS = 500;

/** Timeout of a provider, in milliseconds. */
const FETCH_MS = 5000;

/** Caches the current credentials, and fetches them again before they expire. */
export class Credentials {
  readonly #fetch: CredentialProvider;
  #cached: AwsCredentials | undefined;
  #fetchedAt = 0;
  #failure: { readonly error: unknown; readonly until: number } | undefined;
  #fetching: Promise<AwsCredentials> | undefined;

  /**
   * @param source a provider, or credentials without expiration. Default:
   *   {@link environmentCredentials}
   */
  constructor(source: CredentialProvider | AwsCredentials = environmentCredentials) {
    this.#fetch = typeof source === "function" ? source : async () => source;
  }

  /**
   * Returns the current credentials. Cached credentials are returned synchronously, so that a call
   * is signed in the same turn of the event loop in which it starts.
   *
   * @throws DeliveryError if no credentials are found
   */
  now(): AwsCredentials | Promise<AwsCredentials> {
    const cached = this.#cached;
    if (!cached) return this.#renew();
    const expiresInMs = cached.expiration === undefined ? Infinity : cached.expiration.getTime() - Date.now();
    if (expiresInMs <= 0) return this.#renew();
    // The current credentials are valid until then, so a failure is ignored.
    if (expiresInMs < RENEW_BEFORE_MS && performance.now() - this.#fetchedAt > RENEW_EVERY_MS) {
      this.#renew().catch(() => undefined);
    }
    return cached;
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
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no response within ${FETCH_MS} ms`)), FETCH_MS);
    });
    try {
      this.#cached = await Promise.race([this.#fetch(), timeout]);
      return this.#cached;
    } catch (cause) {
      const error = cause instanceof DeliveryError ? cause : new CredentialsError(cause);
      this.#failure = { error, until: performance.now() + FAILED_FOR_MS };
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A credential provider failed. The next attempt can succeed. */
export class CredentialsError extends DeliveryError {
  override readonly name: string = "CredentialsError";

  constructor(cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`AWS credentials could not be loaded (${reason}). Check the credential provider.`, {
      code: "SALLYPORT_CREDENTIALS",
      status: 503,
      cause,
    });
  }
}

/**
 * Returns the credentials of the environment.
 *
 * This is the access key in the environment variables, as on AWS Lambda. Otherwise, it is the
 * result of the default provider chain of the AWS SDK (profiles, SSO, containers, EC2). The chain
 * requires the package `@aws-sdk/credential-provider-node`.
 *
 * @throws DeliveryError if the package is missing
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
    throw credentialsError(
      "Requests to the Management API of API Gateway must be signed, but AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY " +
        "are not set. " +
        `Set them, or set apiGateway: { credentials }. ${failure}`,
      cause,
    );
  }
}

function credentialsError(message: string, cause: unknown): DeliveryError {
  return new DeliveryError(message, { code: "SALLYPORT_CREDENTIALS", status: 503, cause });
}
