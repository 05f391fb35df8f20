import { ConfigurationError } from "../errors.ts";
import type { HttpAnswer, HttpCall } from "../protocol/http-call.ts";

/** The slice of a Sallyport that a framework's adapter asks. */
export interface AnsweringApp {
  /** Called once, when the adapter is made: from then on changes made elsewhere and grants that end are enforced. */
  start?(): void;
  /** @returns undefined where the path is not Sallyport's */
  answer(http: HttpCall): Promise<HttpAnswer | undefined>;
}

export interface PrefixOptions {
  /** What comes before Sallyport's own paths, such as `/realtime`. Default: nothing. */
  readonly prefix?: string;
}

/** @throws ConfigurationError for a prefix that no path begins with */
export function checkedPrefix(prefix = ""): string {
  if (prefix === "" || /^\/.*[^/]$/.test(prefix)) return prefix;
  throw new ConfigurationError(
    `prefix: ${JSON.stringify(prefix)} begins with a slash and ends without one, such as "/realtime".`,
  );
}

/** The URL without its prefix, or undefined where it has another one. */
export function withoutPrefix(url: URL, prefix: string): URL | undefined {
  if (prefix === "") return url;
  if (!url.pathname.startsWith(`${prefix}/`)) return undefined;
  const own = new URL(url);
  own.pathname = url.pathname.slice(prefix.length);
  return own;
}
