import { ConfigurationError, RefusedError } from "../errors.ts";

/**
 * The pages that may open sockets and ask for tokens. Exact: scheme, host and port.
 *
 * API Gateway does not look at Origin, and a browser sends its cookies with any page's WebSocket, so this list
 * is what stops another site from using a visitor's login.
 */
export class Origins {
  readonly #allowed = new Set<string>();
  readonly #allowMissing: boolean;

  /**
   * @param list origins such as `https://www.example.com`; `"none"` lets in clients that send no Origin at all,
   *   which browsers never do
   * @throws ConfigurationError for an empty list or an entry that is no origin
   */
  constructor(list: readonly string[]) {
    if (!Array.isArray(list) || list.length === 0) {
      throw new ConfigurationError(
        'origins is empty, so no browser could connect. List your pages\' origins, such as "https://www.example.com".',
      );
    }
    for (const origin of list) {
      if (origin === "none") continue;
      if (!isOrigin(origin)) {
        throw new ConfigurationError(
          `origins: "${origin}" is no origin. Write scheme, host and port alone, such as "https://www.example.com".`,
        );
      }
      this.#allowed.add(origin);
    }
    this.#allowMissing = list.includes("none");
  }

  has(origin: string): boolean {
    return this.#allowed.has(origin);
  }

  /** @throws RefusedError unless the Origin is on the list */
  check(origin: string | undefined): void {
    if (origin === undefined ? this.#allowMissing : this.#allowed.has(origin)) return;
    throw new RefusedError(
      origin === undefined
        ? 'The request has no Origin. Add "none" to origins if clients that are no browsers may connect.'
        : `Origin ${JSON.stringify(origin)} is not in origins.`,
      { reason: "origin" },
    );
  }
}

function isOrigin(text: unknown): boolean {
  // A star would look like a pattern and match nothing.
  if (typeof text !== "string" || !/^https?:\/\/[^*]+$/.test(text)) return false;
  try {
    return new URL(text).origin === text;
  } catch {
    return false;
  }
}
