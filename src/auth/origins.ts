import * as v from "valibot";
import { ConfigurationError, RefusedError } from "../errors.ts";
import { functionOption } from "../options.ts";
import { loopbackOrigin } from "../protocol/loopback.ts";

/** Returns true for the origin of a page that may connect. Every other result denies it. */
export type OriginCheck = (origin: string) => boolean | Promise<boolean>;

const WORDS =
  'must be scheme, host and port of a page, such as "https://www.example.com", or "https://*.example.com" for all subdomains';

const originText = v.pipe(
  v.string(WORDS),
  v.check(
    (text) => text !== "none",
    'is "none". Set allowMissingOrigin: true to accept clients without an Origin header.',
  ),
  v.check((text) => isOrigin(text) || isWildcard(text), WORDS),
);

const ORIGINS = "must be an array of origins, or a function that returns true for an allowed origin";

/** The option `origins`. */
export const originSchema = v.lazy(
  (value): v.GenericSchema<readonly string[] | OriginCheck> =>
    typeof value === "function"
      ? functionOption<OriginCheck>()
      : v.pipe(v.array(originText, ORIGINS), v.readonly()),
);

/**
 * The pages that may connect and request tokens.
 *
 * API Gateway does not check Origin, and a browser sends its cookies with the WebSocket of any page. So this check is what prevents
 * another site from using the session of a visitor.
 */
export class Origins {
  readonly #allowed = new Set<string>();
  /** Scheme and suffix of each wildcard: `["https://", ".example.com"]`. */
  readonly #suffixes: (readonly [scheme: string, suffix: string])[] = [];
  readonly #check: OriginCheck | undefined;
  readonly #allowMissing: boolean;

  /** @throws ConfigurationError if no client could connect */
  constructor(origins: readonly string[] | OriginCheck, allowMissing: boolean) {
    this.#allowMissing = allowMissing;
    if (typeof origins === "function") {
      this.#check = origins;
      return;
    }
    if (origins.length === 0 && !allowMissing) {
      throw new ConfigurationError(
        "createSallyport(): origins is empty, so no client could connect. List the origins of your pages, such as " +
          '"https://www.example.com", or set allowMissingOrigin: true if your clients are not browsers.',
      );
    }
    for (const origin of origins) {
      const [scheme = "", suffix] = origin.split("*");
      if (suffix === undefined) this.#allowed.add(origin);
      else this.#suffixes.push([scheme, suffix]);
    }
  }

  /** Whether a page of this origin may connect. */
  async allows(origin: string): Promise<boolean> {
    if (this.#check) return (await this.#check(origin)) === true;
    if (this.#allowed.has(origin)) return true;
    return this.#suffixes.some(([scheme, suffix]) => isSubdomain(origin, scheme, suffix));
  }

  /** Decides about the Origin of a request, once. The function `origins` may fail, which denies the request. */
  async decide(origin: string | undefined): Promise<OriginDecision> {
    try {
      return { origin, isAllowed: origin === undefined ? this.#allowMissing : await this.allows(origin) };
    } catch (error) {
      return { origin, isAllowed: false, error };
    }
  }

  /** @throws RefusedError if the Origin is not allowed, or the error of the function `origins` */
  require({ origin, isAllowed, error }: OriginDecision): void {
    if (isAllowed) return;
    if (error !== undefined) throw error;
    throw new RefusedError(this.#why(origin), { reason: "origin" });
  }

  #why(origin: string | undefined): string {
    if (origin === undefined) {
      return "The request has no Origin header. Set allowMissingOrigin: true if clients that are not browsers may connect.";
    }
    const text = JSON.stringify(origin);
    if (this.#check) return `origins() did not return true for ${text}.`;
    const listed = loopbackOrigin(origin) && [...this.#allowed].find(loopbackOrigin);
    if (listed === undefined) return `Origin ${text} is not in origins.`;
    return (
      `Origin ${text} is not in origins, which contains "${listed}". Both are names of this machine. ` +
      `Open the page at ${listed}, or add ${text} to origins.`
    );
  }
}

/** Whether the page of a request may connect. */
export interface OriginDecision {
  readonly origin: string | undefined;
  readonly isAllowed: boolean;
  /** What the function `origins` threw. */
  readonly error?: unknown;
}

function isSubdomain(origin: string, scheme: string, suffix: string): boolean {
  if (!origin.startsWith(scheme) || !origin.endsWith(suffix)) return false;
  // Labels only: no user name, port or path can be part of what the star stands for.
  return /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(origin.slice(scheme.length, origin.length - suffix.length));
}

function isOrigin(text: string): boolean {
  if (!/^https?:\/\/[^*]+$/.test(text)) return false;
  return URL.canParse(text) && new URL(text).origin === text;
}

/** One star for the labels below a domain of at least two labels: `https://*.com` would allow almost every page. */
function isWildcard(text: string): boolean {
  const [, scheme, domain = ""] = /^(https?:\/\/)\*\.([^*]+)$/.exec(text) ?? [];
  return /^[^.]+\.[^.]/.test(domain) && isOrigin(`${scheme}${domain}`);
}
