import * as v from "valibot";
import { booleanOption, optionsOf, parseOptions } from "../options.ts";
import { type HttpCall, ownWebCall, refuseAnnounced, tooLarge, webResponse } from "../protocol/http-call.ts";
import { endsWithOwnPath } from "../protocol/path.ts";
import { type AppHandler, type PrefixOptions, prefixOption } from "./app-handler.ts";
import { frameworkRequest, linkFrameworkRequest } from "./node-call.ts";

/** As much of Hono's context as is needed. */
export interface HonoContext {
  readonly req: {
    readonly raw: Request;
    /** All of the body, though somebody has read it before. */
    arrayBuffer(): Promise<ArrayBuffer>;
  };
  /** What the server passes, such as Node's request as `incoming` or the event of a Lambda function. */
  readonly env?: unknown;
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
  app: AppHandler,
  options: HonoOptions = {},
): (context: HonoContext, next: () => Promise<void>) => Promise<Response | undefined> {
  const { prefix, start } = parseOptions("honoMiddleware()", HONO_OPTIONS, options);
  if (start) app.start?.();
  return async (context, next) => {
    const call = callOf(context, prefix);
    const answer = call && (await app.answer(call));
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
  return frameworkRequest("hono", request) as Context | undefined;
}

function callOf(context: HonoContext, prefix: string): HttpCall | undefined {
  const { raw } = context.req;
  const call = ownWebCall(linkFrameworkRequest("hono", raw, context), prefix);
  if (!call || !isAsReceived(context, call.url.pathname)) return undefined;
  return {
    ...call,
    async body(maxBytes) {
      if (!raw.bodyUsed) return call.body(maxBytes);
      refuseAnnounced(raw.headers.get("content-length"), maxBytes);
      const bytes = new Uint8Array(await context.req.arrayBuffer());
      if (bytes.length > maxBytes) throw tooLarge(maxBytes);
      return bytes;
    },
  };
}

/** Returns false if the client sent another path: that of a `Request` is what is left after `..` was resolved. */
function isAsReceived({ env }: HonoContext, path: string): boolean {
  const { incoming, event } = (env ?? {}) as Received;
  const targets = [incoming?.url, event?.rawPath, event?.path].filter((target) => typeof target === "string");
  return targets.every((target) => endsWithOwnPath(target, path));
}

/** What the servers for Node and for Lambda functions pass as `env`. */
interface Received {
  readonly incoming?: { readonly url?: unknown };
  /** Of a function URL or an HTTP API, and of a REST API. */
  readonly event?: { readonly rawPath?: unknown; readonly path?: unknown };
}
