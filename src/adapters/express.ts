import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpAnswer } from "../protocol/http-call.ts";
import { isNormalForm } from "../protocol/path.ts";
import type { AppHandler } from "./app-handler.ts";
import { frameworkRequest, NodeCall, OwnTarget, writeAnswer } from "./node-call.ts";

/** As much of Express's request as is needed. */
export interface ExpressRequest extends IncomingMessage {
  /** What a body parser has made of the body. */
  readonly body?: unknown;
  /** The request target as the client sent it. `url` does not contain the path under which the middleware is mounted. */
  readonly originalUrl?: string;
}

/**
 * Middleware for Express: `app.use(expressMiddleware(sallyport))`. What is not Sallyport's goes on to the next one.
 *
 * Mounted under a path, `app.use("/realtime", …)`, it sees paths without that. It stands best before any body parser; after
 * `express.json()`, `express.text()` or `express.raw()` it takes what they read, within their limits.
 */
export function expressMiddleware(
  app: AppHandler,
): (request: ExpressRequest, response: ServerResponse, next: (error?: unknown) => void) => void {
  app.start?.();
  return (request, response, next) => {
    const { url: target = "/", originalUrl = target } = request;
    const own = isNormalForm(originalUrl) ? OwnTarget.of(request, target) : undefined;
    if (!own) {
      next();
      return;
    }
    const call = new NodeCall(request, own, {
      by: "express",
      source: request,
      parsedBody: () => request.body,
    });
    // `next` is called once at most. An error that it throws is not passed to it again.
    void app.answer(call).then(
      (answer) => {
        if (!answer) return next();
        const failure = respond(answer, request, response);
        if (failure) next(failure.error);
      },
      (error) => next(error),
    );
  };
}

/** Sends an answer. Returns an error only while nothing was sent, so that `next` never runs on a response that has begun. */
function respond(
  answer: HttpAnswer,
  request: ExpressRequest,
  response: ServerResponse,
): { readonly error: unknown } | undefined {
  try {
    writeAnswer(answer, response);
  } catch (error) {
    if (!response.headersSent) return { error };
    process.emitWarning(error as Error);
    response.destroy();
  }
  // A body that nobody read to its end must not hold up the connection's next request.
  if (!request.complete) request.resume();
  return undefined;
}

/**
 * Express's own request, with what middleware has put there, such as `session` and `user`: for `authenticate`, and for the author's
 * `connect()`.
 *
 * @returns undefined for a request that came another way
 */
export function expressRequest<Incoming extends IncomingMessage = ExpressRequest>(
  request: Request,
): Incoming | undefined {
  return frameworkRequest("express", request) as Incoming | undefined;
}
