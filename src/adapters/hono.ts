import * as v from "valibot";
import { booleanOption, optionsOf, parseOptions } from "../options.ts";
import { type HttpCall, refuseAnnounced, tooLarge, webCall, webResponse } from "../protocol/http-call.ts";
import { type AnsweringApp, type PrefixOptions, prefixOption, withoutPrefix } from "./answering-app.ts";
import { originOf, rememberOrigin } from "./node-call.ts";

/** As much of Hono's context as is needed. */
export interface HonoContext {
  readonly req: {
    readonly raw: Request;
    /** All of the body, though somebody has read it before. */
    arrayBuffer(): Promise<ArrayBuffer>;
  };
}

export interface HonoOptions extends PrefixOptions {
  /**
   * Whether changes made elsewhere and grants that end are enforced from now on, and not only from the first event on. Default true; not where
   * the process is frozen between requests.
   */
  readonly start?: boolean | undefined;
}

const HONO_OPTIONS = optionsOf<HonoOptions>()({
  prefix: prefixOption,
  start: v.optional(booleanOption, true),
});

/**
 * Middleware for Hono: `app.use(honoMiddleware(sallyport))`. What is not Sallyport's goes on to the next one.
 *
 * Other middleware may have read the body through Hono before.
 */
export function honoMiddleware(
  app: AnsweringApp,
  options: HonoOptions = {},
): (context: HonoContext, next: () => Promise<void>) => Promise<Response | undefined> {
  const { prefix, start } = parseOptions("honoMiddleware()", HONO_OPTIONS, options);
  if (start) app.start?.();
  return async (context, next) => {
    const url = withoutPrefix(new URL(context.req.raw.url), prefix);
    const answer = url && (await app.answer(callOf(context, url)));
    if (answer) return webResponse(answer);
    await next();
    return undefined;
  };
}

/**
 * Hono's own context, with what middleware has put there: for `authenticate`, and for the author's `connect()`.
 *
 * @returns undefined for a request that came another way
 */
export function honoContext<Context extends HonoContext = HonoContext>(
  request: Request,
): Context | undefined {
  return originOf("hono", request) as Context | undefined;
}

function callOf(context: HonoContext, url: URL): HttpCall {
  const { raw } = context.req;
  const call = webCall(rememberOrigin("hono", raw, context));
  return {
    ...call,
    url,
    async body(maxBytes) {
      if (!raw.bodyUsed) return call.body(maxBytes);
      refuseAnnounced(raw.headers.get("content-length"), maxBytes);
      const bytes = new Uint8Array(await context.req.arrayBuffer());
      if (bytes.length > maxBytes) throw tooLarge(maxBytes);
      return bytes;
    },
  };
}
