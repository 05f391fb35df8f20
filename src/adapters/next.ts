import { INTERNAL } from "../internal.ts";
import { ownWebCall, webResponse } from "../protocol/http.ts";
import type { AppHandler } from "./app-handler.ts";

type Handler = (request: Request) => Promise<Response>;

/** The exports of a route file. */
export interface NextHandlers {
  readonly GET: Handler;
  readonly POST: Handler;
  readonly OPTIONS: Handler;
}

/**
 * Returns the handlers of a route of the Next.js app router, in the Node.js runtime. Export them in
 * `app/ws/chat/[event]/route.ts` and in `app/api/ws-token/route.ts`:
 *
 * ```ts
 * export const { GET, POST, OPTIONS } = nextHandlers(sallyport);
 * ```
 *
 * Set `serverExternalPackages: ["sallyport"]` in `next.config.ts`. Next.js removes its `basePath`.
 *
 * The background jobs start with the first event, because a build imports the routes too.
 */
export function nextHandlers(app: AppHandler): NextHandlers {
  const handle: Handler = async (request) => {
    const call = ownWebCall(request);
    const answer = call && (await app[INTERNAL].answer(call));
    return answer ? webResponse(answer) : Response.json({ ok: false, error: "Not found." }, { status: 404 });
  };
  return { GET: handle, POST: handle, OPTIONS: handle };
}
