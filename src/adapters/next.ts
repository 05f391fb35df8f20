import { webCall, webResponse } from "../protocol/http-call.ts";
import { type AnsweringApp, type PrefixOptions, withoutPrefix } from "./answering-app.ts";

type Handler = (request: Request) => Promise<Response>;

/** A route file's exports. */
export interface NextHandlers {
  readonly GET: Handler;
  readonly POST: Handler;
  readonly OPTIONS: Handler;
}

/**
 * Handlers for a route of Next.js's app router, which runs on Node: `app/ws/chat/[event]/route.ts` and
 * `app/api/ws-token/route.ts` both say
 *
 * ```ts
 * export const { GET, POST, OPTIONS } = nextHandlers(sallyport);
 * ```
 *
 * @param options.prefix the `basePath` of the Next.js app, where it has one
 */
export function nextHandlers(app: AnsweringApp, options: PrefixOptions = {}): NextHandlers {
  app.start?.();
  const handle: Handler = async (request) => {
    const url = withoutPrefix(new URL(request.url), options.prefix);
    const answer = url && (await app.answer({ ...webCall(request), url }));
    return answer ? webResponse(answer) : Response.json({ ok: false, error: "Not found." }, { status: 404 });
  };
  return { GET: handle, POST: handle, OPTIONS: handle };
}
