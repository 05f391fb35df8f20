import * as v from "valibot";
import { ConfigurationError, ForbiddenError } from "../errors.ts";
import { functionOption } from "../options.ts";
import { loopbackOrigin } from "../protocol/loopback.ts";

/** Returns true for the origin of a page that is allowed to connect. Any other result denies it. */
export type OriginCheck = (origin: string) => boolean | Promise<boolean>;

const ORIGIN_MESSAGE =
  'must be scheme, host and port of a page, such as "https://www.example.com", or "https://*.example.com" for all subdomains';

const originText = v.pipe(
  v.string(ORIGIN_MESSAGE),
  v.check(
    (text) => text !== "none",
    'is "none". Set allowMissingOrigin: true to accept clients without an Origin header.',
  ),
  v.check((text) => isOrigin(text) || isWildcard(text), ORIGIN_MESSAGE),
);

const ORIGINS_MESSAGE = "must be an array of origins, or a function that returns true for an allowed origin";

/** The option `origins`. */
export const originSchema = v.lazy(
  (value): v.GenericSchema<readonly string[] | OriginCheck> =>
    typeof value === "function"
      ? functionOption<OriginCheck>()
      : v.pipe(v.array(originText, ORIGINS_MESSAGE), v.readonly()),
);

/**
 * The origins of the pages that are allowed to connect and to request tokens.
 *
 * API Gateway does not check the Origin header. A browser sends its cookies with a WebSocket
 * request of any page. Only this check prevents another site from using the session of a visitor.
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

  /** Returns whether pages of this origin are allowed to connect. */
  async allows(origin: string): Promise<boolean> {
    if (this.#check) return (await this.#check(origin)) === true;
    if (this.#allowed.has(origin)) return true;
    return this.#suffixes.some(([scheme, suffix]) => isSubdomain(origin, scheme, suffix));
  }

  /**
   * Checks the Origin of a request. Never throws: if the function `origins` fails, the request is
   * denied.
   */
  async decide(origin: string | undefined): Promise<OriginDecision> {
    try {
      return { origin, isAllowed: origin === undefined ? this.#allowMissing : await this.allows(origin) };
    } catch (error) {
      return { origin, isAllowed: false, error };
    }
  }

  /**
   * Throws if the Origin of a request is not allowed.
   *
   * @throws RequestError if the Origin is not allowed, or the error of the function `origins`
   */
  require({ origin, isAllowed, error }: OriginDecision): void {
    if (isAllowed) return;
    if (error !== undefined) throw error;
    throw new ForbiddenError(this.#messageFor(origin), { reason: "origin" });
  }

  #messageFor(origin: string | undefined): string {
    if (origin === undefined) {
      return "The request has no Origin header. Set allowMissingOrigin: true to accept clients that are not browsers.";
    }
    const text = JSON.stringify(origin);
    if (this.#check) {
      return `origins() did not return true for ${text}. Return true if its pages are allowed to connect.`;
    }
    const listed = loopbackOrigin(origin) && [...this.#allowed].find(loopbackOrigin);
    if (listed === undefined) {
      return `Origin ${text} is not in origins. Add it if its pages are allowed to connect.`;
    }
    return (
      `Origin ${text} is not in origins, which contains "${listed}". Both are names of this machine. ` +
      `Open the page at ${listed}, or add ${text} to origins.`
    );
  }
}

/** Whether the page of a request is allowed to connect. */
export interface OriginDecision {
  readonly origin: string | undefined;
  readonly isAllowed: boolean;
  /** What the function `origins` threw. */
  readonly error?: unknown;
}

function isSubdomain(origin: string, scheme: string, suffix: string): boolean {
  if (!origin.startsWith(scheme) || !origin.endsWith(suffix)) return false;
  // The star matches labels only. It does not match a user name, a port or a path.
  return /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(origin.slice(scheme.length, origin.length - suffix.length));
}

function isOrigin(text: string): boolean {
  if (!/^https?:\/\/[^*]+$/.test(text)) return false;
  return URL.canParse(text) && new URL(text).origin === text;
}

/**
 * Accepts one star in front of a domain with at least two labels. `https://*.com` would allow most
 * pages.
 */
function isWildcard(text: string): boolean {
  const [, scheme, domain = ""] = /^(https?:\/\/)\*\.([^*]+)$/.exec(text) ?? [];
  return /^[^.]+\.[^.]/.test(domain) && isOrigin(`${scheme}${domain}`);
}
