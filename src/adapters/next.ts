import { ownWebCall, webResponse } from "../protocol/http-call.ts";
import type { AppHandler } from "./app-handler.ts";

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
 * and `next.config.ts` says `serverExternalPackages: ["sallyport"]`. Next.js takes its `basePath` off by itself. Nothing is started
 * before the first event, since a build imports its routes as well.
 */
export function nextHandlers(app: AppHandler): NextHandlers {
  const handle: Handler = async (request) => {
    const call = ownWebCall(request);
    const answer = call && (await app.answer(call));
    return answer ? webResponse(answer) : Response.json({ ok: false, error: "Not found." }, { status: 404 });
  };
  return { GET: handle, POST: handle, OPTIONS: handle };
}
