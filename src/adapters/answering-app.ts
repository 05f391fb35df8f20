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

/** The URL without its prefix, or undefined where it has another one. */
export function withoutPrefix(url: URL, prefix = ""): URL | undefined {
  if (prefix === "") return url;
  const start = prefix.replace(/\/+$/, "");
  if (!url.pathname.startsWith(`${start}/`)) return undefined;
  const own = new URL(url);
  own.pathname = url.pathname.slice(start.length);
  return own;
}
