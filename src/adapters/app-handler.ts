import * as v from "valibot";
import { INTERNAL } from "../internal.ts";
import type { HttpRequest, HttpResponse } from "../protocol/http.ts";
import { isPath } from "../protocol/path.ts";

/** The part of a Sallyport object that an adapter for a framework uses. */
export interface AppHandler {
  readonly [INTERNAL]: {
    /**
     * Starts the background jobs, such as the revocation poller. It is called once, when the adapter
     * is created.
     */
    start(): void;
    /** Handles a request. @returns `undefined` if the path is not Sallyport's */
    answer(http: HttpRequest): Promise<HttpResponse | undefined>;
  };
}

/** The option `prefix` of an adapter. */
export interface PrefixOptions {
  /** Path before the paths of Sallyport, such as `/realtime`. Default: none. */
  readonly prefix?: string | undefined;
}

const PREFIX =
  'must be a path that begins with / and does not end with it, of letters, digits and - . _ ~, such as "/realtime"';

/** Schema of the option `prefix`. Default: none. */
export const prefixOption = v.optional(
  v.pipe(
    v.string(PREFIX),
    v.check((prefix) => prefix === "" || isPath(prefix), PREFIX),
  ),
  "",
);
