import * as v from "valibot";
import type { HttpAnswer, HttpCall } from "../protocol/http-call.ts";
import { isPath } from "../protocol/path.ts";

/** The slice of a Sallyport that a framework's adapter asks. */
export interface AppHandler {
  /** Called once, when the adapter is made: from then on changes made elsewhere and grants that end are enforced. */
  start?(): void;
  /** @returns undefined where the path is not Sallyport's */
  answer(http: HttpCall): Promise<HttpAnswer | undefined>;
}

export interface PrefixOptions {
  /** What comes before Sallyport's own paths, such as `/realtime`. Default: nothing. */
  readonly prefix?: string | undefined;
}

const PREFIX =
  'must be a path that begins with / and does not end with it, of letters, digits and - . _ ~, such as "/realtime"';

/** The option `prefix`. Default: none. */
export const prefixOption = v.optional(
  v.pipe(
    v.string(PREFIX),
    v.check((prefix) => prefix === "" || isPath(prefix), PREFIX),
  ),
  "",
);
