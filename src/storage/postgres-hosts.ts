import { ConfigurationError } from "../errors.ts";

/** Matches a connection string: the part before the hosts, the hosts, and the rest. */
const PARTS = /^(postgres(?:ql)?:\/\/(?:[^/?#]*@)?)([^/?#@]*)(.*)$/s;

/**
 * The supported values of target_session_attrs of libpq. Sallyport needs a server that accepts
 * writes.
 */
const WRITERS = ["read-write", "primary"];

/**
 * The servers of a connection string, such as `postgres://user@a:5432,b:5432/db`. Connections are
 * opened to the current server, until it fails or does not accept writes.
 */
export class PostgresHosts {
  readonly #sources: readonly string[];
  #index = 0;
  /** Why the last attempt to connect failed, or undefined if it succeeded. */
  failure: Error | undefined;

  /**
   * @throws ConfigurationError if the string names no server. The message does not repeat the
   *   string, because it may contain a password
   */
  constructor(source: string) {
    this.#sources = split(source);
    if (!this.#sources.every(namesServer)) {
      throw new ConfigurationError(
        "postgres(): the source must be a connection string that names a server, or a Kysely instance, but the given string does not name one. " +
          "Set the variable that holds it, such as DATABASE_URL, to postgres://user:password@host/database.",
      );
    }
    const attributes = new URL(this.current).searchParams.get("target_session_attrs");
    if (attributes !== null && !WRITERS.includes(attributes)) {
      throw new ConfigurationError(
        `postgres(): target_session_attrs must be ${WRITERS.join(" or ")}, but is ${JSON.stringify(attributes)}. Sallyport writes, so it connects ` +
          "only to a server that accepts writes. Change the parameter in the connection string, or remove it.",
      );
    }
  }

  get count(): number {
    return this.#sources.length;
  }

  /** Returns whether the connection string contains a password. */
  get hasPassword(): boolean {
    const { password, searchParams } = new URL(this.current);
    return password !== "" || searchParams.has("password");
  }

  /** The connection string of the current server. */
  get current(): string {
    return this.#sources[this.#index] as string;
  }

  /** Selects the next server, unless another caller has already done so. */
  failed(source: string, reason: Error): void {
    this.failure = reason;
    if (source === this.current) this.#index = (this.#index + 1) % this.count;
  }
}

function split(source: string): readonly string[] {
  const [, before = "", hosts = "", after = ""] = PARTS.exec(source) ?? [];
  return hosts.includes(",") ? hosts.split(",").map((host) => `${before}${host}${after}`) : [source];
}

/** Returns whether a URL has a host, or the folder of a Unix socket in `?host=`. */
function namesServer(source: string): boolean {
  if (!/^postgres(ql)?:\/\//.test(source) || !URL.canParse(source)) return false;
  const { hostname, searchParams } = new URL(source);
  return hostname !== "" || Boolean(searchParams.get("host"));
}
