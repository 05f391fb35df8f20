import { hash as digest, randomBytes, randomUUID } from "node:crypto";
import * as v from "valibot";
import { type ClockReading, msSince, readClocks } from "../elapsed.ts";
import { ConfigurationError } from "../errors.ts";
import { booleanOption, choiceOption, optionsOf, parseOptions, textOption } from "../options.ts";
import type { Database } from "../storage/database.ts";
import { afterCommit } from "../storage/storage-errors.ts";

/** Our record of one AWS WebSocket API and stage. */
export interface Gateway {
  readonly id: string;
  readonly name: string;
  /** AWS's id of the API, where known; a consistency check. */
  readonly apiId: string | null;
  readonly stage: string;
  /** Base of the Management API, such as `https://abc123.execute-api.eu-west-1.amazonaws.com/prod`. */
  readonly endpoint: string;
  /** SHA-256 of the secrets that prove a call, newest first. Two during a rotation. */
  readonly secretHashes: readonly string[];
  /** How answers reach the socket: as the route's response, or pushed where a gateway has no route responses. */
  readonly replies: "route" | "push";
}

/** What registers a gateway. */
export interface GatewayRegistration {
  /** Our name for it; registering the same name again replaces endpoint and secret. */
  readonly name: string;
  readonly endpoint: string;
  /** The secret mapped as `x-sallyport-secret`: 32 to 256 letters, digits, `_` or `-`. Kept as SHA-256. Left out: the one it has. */
  readonly secret?: string;
  readonly apiId?: string | undefined;
  /** Default: the last part of the endpoint's path. */
  readonly stage?: string | undefined;
  /** Default `route`. */
  readonly replies?: "route" | "push" | undefined;
  /** Accept the former secret as well, until the gateway is registered once more. Default false. */
  readonly keepPreviousSecret?: boolean | undefined;
  /** Instead of `secret`: SHA-256 in hex of each secret that is accepted, newest first, two at most. */
  readonly secretHashes?: readonly string[];
}

// A secret that was passed by mistake is not repeated.
const HASH = "must be the SHA-256 of a secret in hexadecimal, not the secret itself.";

const REGISTRATION = optionsOf<GatewayRegistration>()({
  name: textOption(/^[A-Za-z0-9 _-]{1,128}$/, "1 to 128 letters, digits, spaces, _ or -"),
  endpoint: v.string("must be a URL such as https://abc.execute-api.eu-west-1.amazonaws.com/prod"),
  // Rejects `undefined`: the former secret would stay in use.
  secret: v.exactOptional(
    v.custom<string>(
      (value) => typeof value === "string" && isSecret(value),
      // The secret is not repeated.
      "must be 32 to 256 letters, digits, _ or -, as gatewaySecret() returns them.",
    ),
  ),
  apiId: v.optional(textOption(/./, "the id that AWS gave the API, or left out")),
  stage: v.optional(v.string("must be the name of a stage")),
  replies: v.optional(choiceOption("route", "push"), "route"),
  keepPreviousSecret: v.optional(booleanOption),
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

/** Longest time that a removed secret is still accepted by a process that knew it, in milliseconds. */
export const MAX_AGE_MS = 5000;
/** Shortest time between two readings caused by callers that nobody knows, in milliseconds. */
const MIN_AGE_MS = 1000;

/** The gateways we answer to. Read seldom and kept, since every event needs them. */
export class Gateways {
  readonly #database: Database;
  #known: readonly Gateway[] = [];
  /** When the newest read that has finished started. */
  #readAt: ClockReading | undefined;
  #reading: Promise<readonly Gateway[]> | undefined;
  /** Reads that have started. */
  #started = 0;
  /** The number of the newest read that has finished. */
  #finished = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Every gateway, at most five seconds old. undefined: they have to be read. */
  get freshList(): readonly Gateway[] | undefined {
    return this.#age() < MAX_AGE_MS ? this.#known : undefined;
  }

  /** Every gateway, at most five seconds old. */
  async list(): Promise<readonly Gateway[]> {
    return this.freshList ?? this.#read();
  }

  /** Reads again, at most once a second: a caller may belong to a gateway registered a moment ago. */
  async listAnew(): Promise<readonly Gateway[]> {
    return this.#age() < MIN_AGE_MS ? this.#known : this.#read();
  }

  /** In milliseconds. */
  #age(): number {
    return this.#readAt === undefined ? Number.POSITIVE_INFINITY : msSince(this.#readAt);
  }

  /** Every gateway as it was last read, however long ago; undefined before the first time. */
  get lastKnown(): readonly Gateway[] | undefined {
    return this.#finished === 0 ? undefined : this.#known;
  }

  async find(id: string): Promise<Gateway | undefined> {
    const known = (await this.list()).find((gateway) => gateway.id === id);
    return known ?? (await this.listAnew()).find((gateway) => gateway.id === id);
  }

  /** By id; one that was removed is not among them. */
  async findMany(ids: Iterable<string>): Promise<ReadonlyMap<string, Gateway>> {
    const known = byId(await this.list());
    for (const id of ids) if (!known.has(id)) return byId(await this.listAnew());
    return known;
  }

  /** Records a gateway, or replaces the one of that name; its sessions stay. */
  async register(given: GatewayRegistration): Promise<Gateway> {
    const registration = parseOptions("registerGateway()", REGISTRATION, given);
    const { name, apiId, replies } = registration;
    if (registration.secret !== undefined && registration.secretHashes !== undefined) {
      throw new ConfigurationError(
        `registerGateway(): gateway "${name}" has both secret and secretHashes. Keep one of them.`,
      );
    }
    const endpoint = checkedEndpoint(registration.endpoint);
    const stage = registration.stage ?? new URL(endpoint).pathname.split("/").at(-1) ?? "";
    const now = Date.now();
    const fields = {
      api_id: apiId ?? null,
      stage,
      endpoint,
      replies,
      updated_at: now,
    };
    await this.#database.transaction(async (db) => {
      const others = await db
        .selectFrom("sallyport_gateways")
        .select(["id", "name", "secret_hash", "previous_secret_hash"])
        .execute();
      const existing = others.find((row) => row.name === name);
      const hashes = acceptedHashes(registration, existing);
      const twin = others.find(
        (row) => row !== existing && hashesOf(row).some((hash) => hashes?.includes(hash)),
      );
      if (twin) {
        throw new ConfigurationError(
          `Gateways "${name}" and "${twin.name}" have the same secret, so nothing tells them apart. Give each its own.`,
        );
      }
      const secrets = hashes === undefined ? {} : secretColumns(hashes);
      if (existing) {
        await db
          .updateTable("sallyport_gateways")
          .set({ ...fields, ...secrets })
          .where("id", "=", existing.id)
          .execute();
      } else {
        const row = { ...fields, ...secretColumns([]), ...secrets, id: randomUUID(), name, created_at: now };
        await db.insertInto("sallyport_gateways").values(row).execute();
      }
    });
    // A read that is in flight already may have started before the write.
    const committed = {
      change: `The registration of gateway "${name}"`,
      next: "Its record could not be read back. Registering it again with the same options is safe.",
    };
    const gateway = await afterCommit(this.#database, committed, () => this.named(name));
    if (!gateway) throw new ConfigurationError(`Gateway "${name}" was removed while it was registered.`);
    return gateway;
  }

  /** As it is recorded now. */
  async named(name: string): Promise<Gateway | undefined> {
    return (await this.#readNow()).find((gateway) => gateway.name === name);
  }

  /** Accepts these secrets of a gateway from now on, and no others. @param hashes newest first, two at most */
  async accept(name: string, hashes: readonly string[]): Promise<void> {
    await this.#database.transaction((db) =>
      db
        .updateTable("sallyport_gateways")
        .set({ ...secretColumns(hashes), updated_at: Date.now() })
        .where("name", "=", name)
        .execute(),
    );
    await this.#readAfterWrite();
  }

  /** Forgets a gateway, and with it the rows of its sessions. @returns whether there was one */
  async remove(name: string): Promise<boolean> {
    const result = await this.#database.transaction((db) =>
      db.deleteFrom("sallyport_gateways").where("name", "=", name).executeTakeFirst(),
    );
    await this.#readAfterWrite();
    return result.numDeletedRows > 0n;
  }

  /** What is known is out of date. Where it cannot be read now, the next event reads it. */
  async #readAfterWrite(): Promise<void> {
    await this.#readNow().catch(() => {
      this.#readAt = undefined;
    });
  }

  /** Returns the read in flight, or starts one: many events at the same time cause a single query. */
  #read(): Promise<readonly Gateway[]> {
    this.#reading ??= this.#readNow().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /**
   * Starts a read of its own.
   *
   * Reads may finish in another order than they started. The result of an older read is dropped, and its callers get the newer one.
   */
  async #readNow(): Promise<readonly Gateway[]> {
    const number = ++this.#started;
    const startedAt = readClocks();
    const rows = await this.#database.db
      .selectFrom("sallyport_gateways")
      .selectAll()
      .orderBy("name")
      .execute();
    if (number < this.#finished) return this.#known;
    this.#finished = number;
    this.#known = rows.map((row) => ({
      id: row.id,
      name: row.name,
      apiId: row.api_id,
      stage: row.stage,
      endpoint: row.endpoint,
      secretHashes: hashesOf(row),
      replies: row.replies,
    }));
    // The rows may be as old as the start of the read.
    this.#readAt = startedAt;
    return this.#known;
  }
}

function byId(gateways: readonly Gateway[]): ReadonlyMap<string, Gateway> {
  return new Map(gateways.map((gateway) => [gateway.id, gateway]));
}

interface SecretColumns {
  readonly secret_hash: string | null;
  readonly previous_secret_hash: string | null;
}

/** Newest first. */
function hashesOf({ secret_hash, previous_secret_hash }: SecretColumns): readonly string[] {
  return [secret_hash, previous_secret_hash].filter((hash) => hash !== null);
}

function secretColumns([newest = null, former = null]: readonly (string | null)[]): SecretColumns {
  return { secret_hash: newest, previous_secret_hash: former };
}

/** What a registration makes accepted; undefined for what is accepted already. The same rotation once more changes nothing. */
function acceptedHashes(
  { secret, secretHashes, keepPreviousSecret }: GatewayRegistration,
  row: SecretColumns | undefined,
): readonly string[] | undefined {
  if (secretHashes) return secretHashes;
  if (secret === undefined) return undefined;
  const hash = hashSecret(secret);
  const former = row?.secret_hash === hash ? row.previous_secret_hash : row?.secret_hash;
  return keepPreviousSecret && former ? [hash, former] : [hash];
}

/** A fresh secret for a gateway: 64 hex characters. */
export function gatewaySecret(): string {
  return randomBytes(32).toString("hex");
}

/** True for a value that can be a secret: one token without comma, so that a joined header never passes. */
export function isSecret(value: string): boolean {
  // Asked of every event: a bound in the expression would cost more than all the rest of it.
  return value.length >= 32 && value.length <= 256 && /^[A-Za-z0-9_-]+$/.test(value);
}

/** SHA-256 in hex; a secret has enough entropy of its own. */
export function hashSecret(secret: string): string {
  return digest("sha256", secret);
}

function checkedEndpoint(endpoint: string): string {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw new ConfigurationError(
      `"${endpoint}" is no endpoint. Give a URL such as https://abc.execute-api.eu-west-1.amazonaws.com/prod`,
    );
  }
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && local)) {
    throw new ConfigurationError(`Endpoint ${endpoint} must be https:// (http:// only on this machine).`);
  }
  return url.href.replace(/\/+$/, "");
}
