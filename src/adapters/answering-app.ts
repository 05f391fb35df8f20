import * as v from "valibot";
import { textOption } from "../options.ts";
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
  readonly prefix?: string | undefined;
}

/** The option `prefix`. Default: none. */
export const prefixOption = v.optional(
  textOption(/^(?:\/.*[^/])?$/, 'a path that begins with / and does not end with it, such as "/realtime"'),
  "",
);

/** The URL without its prefix, or undefined where it has another one. */
export function withoutPrefix(url: URL, prefix: string): URL | undefined {
  if (prefix === "") return url;
  if (!url.pathname.startsWith(`${prefix}/`)) return undefined;
  const own = new URL(url);
  own.pathname = url.pathname.slice(prefix.length);
  return own;
}
