import * as v from "valibot";
import { INTERNAL } from "../internal.ts";
import { booleanOption, optionsOf, parseOptions } from "../options.ts";
import { checkContentLength, type HttpRequest, ownWebCall, tooLarge, webResponse } from "../protocol/http.ts";
import { endsWithOwnPath } from "../protocol/path.ts";
import { type AppHandler, type PrefixOptions, prefixOption } from "./app-handler.ts";
import { frameworkRequest, linkFrameworkRequest } from "./node-request.ts";

/** The properties of a Hono context that the adapter uses. */
export interface HonoContext {
  readonly req: {
    readonly raw: Request;
    /** Returns the whole body, also if other middleware has read it before. */
    arrayBuffer(): Promise<ArrayBuffer>;
  };
  /**
   * Values of the server, such as the Node request as `incoming`, or the event of a Lambda
   * function.
   */
  readonly env?: unknown;
}

/** Options of {@link honoMiddleware}. */
export interface HonoOptions extends PrefixOptions {
  /**
   * Whether the background jobs, such as the revocation poller, start now instead of with the first
   * event. Default `true`. Set it to `false` if the process is frozen between requests.
   */
  readonly start?: boolean | undefined;
}

const HONO_OPTIONS = optionsOf<HonoOptions>()({
  prefix: prefixOption,
  start: v.optional(booleanOption, true),
});

/**
 * Returns middleware for Hono: `app.use(honoMiddleware(sallyport))`.
 *
 * Requests to other paths are passed to `next`. Other middleware can read the body through Hono
 * before.
 *
 * @throws ConfigurationError if an option is invalid
 */
export function honoMiddleware(
  app: AppHandler,
  options: HonoOptions = {},
): (context: HonoContext, next: () => Promise<void>) => Promise<Response | undefined> {
  const { prefix, start } = parseOptions("honoMiddleware()", HONO_OPTIONS, options);
  if (start) app[INTERNAL].start();
  return async (context, next) => {
    const call = callOf(context, prefix);
    const answer = call && (await app[INTERNAL].answer(call));
    if (answer) return webResponse(answer);
    await next();
    return undefined;
  };
}

/**
 * Returns the Hono context of a web `Request`, with variables of middleware. Call it in
 * `authenticate` and in `connect()` of a view.
 *
 * @returns `undefined` for a request that this adapter did not create
 */
export function honoContext<Context extends HonoContext = HonoContext>(
  request: Request,
): Context | undefined {
  return frameworkRequest("hono", request) as Context | undefined;
}

function callOf(context: HonoContext, prefix: string): HttpRequest | undefined {
  const { raw } = context.req;
  const call = ownWebCall(linkFrameworkRequest("hono", raw, context), prefix);
  if (!call || !isAsReceived(context, call.url.pathname)) return undefined;
  return {
    ...call,
    async body(maxBytes) {
      if (!raw.bodyUsed) return call.body(maxBytes);
      checkContentLength(raw.headers.get("content-length"), maxBytes);
      const bytes = new Uint8Array(await context.req.arrayBuffer());
      if (bytes.length > maxBytes) throw tooLarge(maxBytes);
      return bytes;
    },
  };
}

/**
 * Returns whether the client sent this path. In the path of a web `Request`, segments such as `..`
 * are already resolved.
 */
function isAsReceived({ env }: HonoContext, path: string): boolean {
  const { incoming, event } = (env ?? {}) as ServerEnv;
  const targets = [incoming?.url, event?.rawPath, event?.path].filter((target) => typeof target === "string");
  return targets.every((target) => endsWithOwnPath(target, path));
}

/** The values of `env` from the servers for Node and Lambda functions. */
interface ServerEnv {
  readonly incoming?: { readonly url?: unknown };
  /** Event of a function URL or HTTP API (`rawPath`), or of a REST API (`path`). */
  readonly event?: { readonly rawPath?: unknown; readonly path?: unknown };
}
