import type { IncomingMessage, ServerResponse } from "node:http";
import { INTERNAL } from "../internal.ts";
import type { HttpResponse } from "../protocol/http.ts";
import { isNormalForm } from "../protocol/path.ts";
import type { AppHandler } from "./app-handler.ts";
import { frameworkRequest, NodeRequest, OwnTarget, writeResponse } from "./node-request.ts";

/** The properties of an Express request that the adapter uses. */
export interface ExpressRequest extends IncomingMessage {
  /** The body as a body parser has parsed it. */
  readonly body?: unknown;
  /**
   * The request target as the client sent it. `url` does not contain the path under which the
   * middleware is mounted.
   */
  readonly originalUrl?: string;
}

/**
 * Returns middleware for Express: `app.use(expressMiddleware(sallyport))`.
 *
 * Requests to other paths are passed to `next`. Below a mount path, such as `app.use("/realtime",
 * …)`, the middleware reads paths without it.
 *
 * Mount it before any body parser. After `express.json()`, `express.text()` or `express.raw()`, it
 * uses the parsed body, within the limits of the parser.
 *
 * @param app the Sallyport object. The call starts its background jobs
 */
export function expressMiddleware(
  app: AppHandler,
): (request: ExpressRequest, response: ServerResponse, next: (error?: unknown) => void) => void {
  app[INTERNAL].start();
  return (request, response, next) => {
    const { url: target = "/", originalUrl = target } = request;
    const own = isNormalForm(originalUrl) ? OwnTarget.of(request, target) : undefined;
    if (!own) {
      next();
      return;
    }
    const call = new NodeRequest(request, own, {
      by: "express",
      source: request,
      parsedBody: () => request.body,
    });
    // `next` is called at most once. An error that it throws is not passed to it again.
    void app[INTERNAL].answer(call).then(
      (answer) => {
        if (!answer) return next();
        const failure = respond(answer, request, response);
        if (failure) next(failure.error);
      },
      (error) => next(error),
    );
  };
}

/**
 * Sends an answer. It returns an error only if nothing was sent, because `next` must not run after
 * the response has started.
 */
function respond(
  answer: HttpResponse,
  request: ExpressRequest,
  response: ServerResponse,
): { readonly error: unknown } | undefined {
  try {
    writeResponse(answer, response);
  } catch (error) {
    if (!response.headersSent) return { error };
    process.emitWarning(error as Error);
    response.destroy();
  }
  // An unread rest of the body would block the next request on the connection.
  if (!request.complete) request.resume();
  return undefined;
}

/**
 * Returns the Express request of a web `Request`, with properties of middleware such as `session`
 * and `user`. Call it in `authenticate` and in `connect()` of a view.
 *
 * @returns `undefined` for a request that this adapter did not create
 */
export function expressRequest<Incoming extends IncomingMessage = ExpressRequest>(
  request: Request,
): Incoming | undefined {
  return frameworkRequest("express", request) as Incoming | undefined;
}
