import { hash as digest, randomBytes } from "node:crypto";
import * as v from "valibot";
import { type ClockReading, msSince, readClocks } from "../elapsed.ts";
import { ConfigurationError } from "../errors.ts";
import { booleanOption, choiceOption, optionsOf, parseOptions, textOption } from "../options.ts";
import { afterCommit } from "../storage/storage-errors.ts";
import type { Store } from "../storage/store.ts";
import type { Gateway } from "../storage/stores/gateways.ts";

/** The options of `registerGateway()`. */
export interface GatewayRegistration {
  /**
   * 1 to 128 letters, digits, spaces, `_` or `-`. Registering a name again replaces endpoint and
   * secret.
   */
  readonly name: string;
  /**
   * URL of the management API, such as `https://abc123.execute-api.eu-west-1.amazonaws.com/prod`.
   */
  readonly endpoint: string;
  /**
   * The secret that the gateway sends as `x-sallyport-secret`: 32 to 256 letters, digits, `_` or
   * `-`. Only its SHA-256 is stored. Default: the present secret.
   */
  readonly secret?: string;
  /** The id that AWS gave the API. Default: not known. */
  readonly apiId?: string | undefined;
  /** Name of the stage. Default: the last segment of the path of `endpoint`. */
  readonly stage?: string | undefined;
  /**
   * How replies are sent: `"route"` as the route response, `"push"` through the management API, for
   * gateways without route responses. Default "route".
   */
  readonly replies?: "route" | "push" | undefined;
  /** Whether to accept the previous secret as well, until the next registration. Default false. */
  readonly keepPreviousSecret?: boolean | undefined;
  /**
   * Alternative to `secret`: the SHA-256 of one or two accepted secrets in hexadecimal, newest
   * first.
   */
  readonly secretHashes?: readonly string[];
  /**
   * Whether the gateway was restarted, so that its earlier connections no longer exist. Their rows
   * are closed. Set it for a local gateway that starts with the app. Default false.
   */
  readonly hasRestarted?: boolean | undefined;
}

// A secret that was passed by mistake is not repeated in the message.
const HASH = "must be the SHA-256 of a secret in hexadecimal, not the secret itself.";

const REGISTRATION = optionsOf<GatewayRegistration>()({
  name: textOption(/^[A-Za-z0-9 _-]{1,128}$/, "1 to 128 letters, digits, spaces, _ or -"),
  endpoint: v.string("must be a URL such as https://abc.execute-api.eu-west-1.amazonaws.com/prod"),
  // `undefined` is rejected, because the previous secret would stay in use.
  secret: v.exactOptional(
    v.custom<string>(
      (value) => typeof value === "string" && isSecret(value),
      // The message must not repeat the secret.
      "must be 32 to 256 letters, digits, _ or -, as gatewaySecret() returns them.",
    ),
  ),
  apiId: v.optional(textOption(/./, "the id that AWS gave the API, or left out")),
  stage: v.optional(v.string("must be the name of a stage")),
  replies: v.optional(choiceOption("route", "push"), "route"),
  keepPreviousSecret: v.optional(booleanOption),
  hasRestarted: v.optional(booleanOption),
  secretHashes: v.exactOptional(
    v.pipe(
      v.array(
        v.pipe(
          v.string(HASH),
          v.check((text) => /^[0-9a-f]{64}$/.test(text), HASH),
        ),
        "must be an array of hashes",
      ),
      v.maxLength(2, "must have at most 2 entries: two secrets are accepted at the same time"),
      v.readonly(),
    ),
  ),
});

/** The maximum time for which a process still accepts a removed secret, in milliseconds. */
export const MAX_CACHE_AGE_MS = 5000;
/** The minimum time between two reads that unknown callers cause, in milliseconds. */
const MIN_AGE_MS = 1000;

/**
 * The registered gateways. They are cached for up to five seconds, because every event needs them.
 */
export class Gateways {
  readonly #store: Store;
  #known: readonly Gateway[] = [];
  /** Start of the newest finished read. */
  #readAt: ClockReading | undefined;
  #reading: Promise<readonly Gateway[]> | undefined;
  /** The number of reads that have started. */
  #started = 0;
  /** The number of the newest read that has finished. */
  #finished = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /** All gateways if the cache is at most five seconds old, otherwise undefined. */
  get freshList(): readonly Gateway[] | undefined {
    return this.#age() < MAX_CACHE_AGE_MS ? this.#known : undefined;
  }

  /** Returns all gateways, at most five seconds old. */
  async list(): Promise<readonly Gateway[]> {
    return this.freshList ?? this.#read();
  }

  /**
   * Reads the gateways again, at most once per second. Use it if a gateway may be newly registered.
   */
  async refresh(): Promise<readonly Gateway[]> {
    return this.#age() < MIN_AGE_MS ? this.#known : this.#read();
  }

  /** Returns the age of the cache in milliseconds. */
  #age(): number {
    return this.#readAt === undefined ? Number.POSITIVE_INFINITY : msSince(this.#readAt);
  }

  /** All gateways as of the last read, of any age, or undefined before the first read. */
  get lastKnown(): readonly Gateway[] | undefined {
    return this.#finished === 0 ? undefined : this.#known;
  }

  /** Returns the gateway with an id, or undefined. */
  async find(id: string): Promise<Gateway | undefined> {
    const known = (await this.list()).find((gateway) => gateway.id === id);
    return known ?? (await this.refresh()).find((gateway) => gateway.id === id);
  }

  /** Returns gateways by id, including those with the given ids. Removed gateways are missing. */
  async findMany(ids: Iterable<string>): Promise<ReadonlyMap<string, Gateway>> {
    const known = byId(await this.list());
    for (const id of ids) if (!known.has(id)) return byId(await this.refresh());
    return known;
  }

  /**
   * Creates a gateway, or replaces the gateway with the same name. Its connections stay open.
   *
   * @throws ConfigurationError if an option is invalid, or another gateway has the same secret
   */
  async register(given: GatewayRegistration): Promise<Gateway> {
    const registration = parseOptions("registerGateway()", REGISTRATION, given);
    const { name, apiId = null, replies } = registration;
    if (registration.secret !== undefined && registration.secretHashes !== undefined) {
      throw new ConfigurationError(
        `registerGateway(): gateway "${name}" has both secret and secretHashes. Keep one of them.`,
      );
    }
    const endpoint = normalizeEndpoint(registration.endpoint);
    const stage = registration.stage ?? new URL(endpoint).pathname.split("/").at(-1) ?? "";
    const duplicate = await this.#store.gateways.register(
      { name, apiId, stage, endpoint, replies },
      (current) => acceptedHashes(registration, current),
    );
    if (duplicate !== undefined) {
      throw new ConfigurationError(
        `Gateways "${name}" and "${duplicate}" have the same secret, so a request does not identify its gateway. ` +
          "Use a different secret for each gateway.",
      );
    }
    // A read in flight may have started before the write, so the row is read again.
    const committed = {
      change: `The registration of gateway "${name}"`,
      next: "Its record could not be read back. Register it again with the same options.",
    };
    const gateway = await afterCommit(this.#store, committed, () => this.named(name));
    if (!gateway) {
      throw new ConfigurationError(
        `Gateway "${name}" was removed while it was registered. Register it again if it is needed.`,
      );
    }
    return gateway;
  }

  /** Reads the gateways and returns the one with a name, or undefined. */
  async named(name: string): Promise<Gateway | undefined> {
    return (await this.#readNow()).find((gateway) => gateway.name === name);
  }

  /**
   * Replaces the accepted secrets of a gateway.
   *
   * @param hashes SHA-256 of at most two secrets, newest first
   */
  async accept(name: string, hashes: readonly string[]): Promise<void> {
    await this.#store.gateways.accept(name, hashes);
    await this.#readAfterWrite();
  }

  /**
   * Deletes a gateway and the rows of its connections.
   *
   * @returns whether it existed
   */
  async remove(name: string): Promise<boolean> {
    const existed = await this.#store.gateways.remove(name);
    await this.#readAfterWrite();
    return existed;
  }

  /** Refreshes the cache after a write. If that fails, the next event reads the gateways. */
  async #readAfterWrite(): Promise<void> {
    await this.#readNow().catch(() => {
      this.#readAt = undefined;
    });
  }

  /** Returns the read in flight, or starts one. Concurrent events share one query. */
  #read(): Promise<readonly Gateway[]> {
    this.#reading ??= this.#readNow().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /**
   * Starts a new read.
   *
   * Reads can finish in a different order than they started. The result of an older read is
   * dropped. Its callers receive the newer result.
   */
  async #readNow(): Promise<readonly Gateway[]> {
    const number = ++this.#started;
    const startedAt = readClocks();
    const gateways = await this.#store.gateways.list();
    if (number < this.#finished) return this.#known;
    this.#finished = number;
    this.#known = gateways;
    // The rows can be as old as the start of the read.
    this.#readAt = startedAt;
    return this.#known;
  }
}

function byId(gateways: readonly Gateway[]): ReadonlyMap<string, Gateway> {
  return new Map(gateways.map((gateway) => [gateway.id, gateway]));
}

/**
 * Returns the secrets that a registration accepts, or undefined if it does not change them.
 * Repeating a rotation changes nothing.
 *
 * @param current the accepted secrets of the gateway that is replaced, newest first
 */
function acceptedHashes(
  { secret, secretHashes, keepPreviousSecret }: GatewayRegistration,
  [newest, older]: readonly string[],
): readonly string[] | undefined {
  if (secretHashes) return secretHashes;
  if (secret === undefined) return undefined;
  const hash = hashSecret(secret);
  const previous = newest === hash ? older : newest;
  return keepPreviousSecret && previous ? [hash, previous] : [hash];
}

/** Returns a new random secret for a gateway: 64 hexadecimal characters. */
export function gatewaySecret(): string {
  return randomBytes(32).toString("hex");
}

/**
 * Returns whether a value can be a secret. A value with a comma cannot, so a header that was sent
 * twice is never accepted.
 */
export function isSecret(value: string): boolean {
  // Called for every event. A bound in the regular expression would be slower.
  return value.length >= 32 && value.length <= 256 && /^[A-Za-z0-9_-]+$/.test(value);
}

/** Returns the SHA-256 of a secret in hexadecimal. Secrets are random, so no salt is needed. */
export function hashSecret(secret: string): string {
  return digest("sha256", secret);
}

function normalizeEndpoint(endpoint: string): string {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw new ConfigurationError(
      `registerGateway(): endpoint "${endpoint}" is not a URL. Write a URL such as https://abc.execute-api.eu-west-1.amazonaws.com/prod.`,
    );
  }
  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLocal)) {
    throw new ConfigurationError(
      `registerGateway(): endpoint ${endpoint} does not use https, so messages would be sent unencrypted. ` +
        "Use https://, or http:// with localhost.",
    );
  }
  return url.href.replace(/\/+$/, "");
}
