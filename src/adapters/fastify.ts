import type { IncomingMessage } from "node:http";
import type { AnsweringApp } from "./answering-app.ts";
import { NodeCall, originOf, urlOf } from "./node-call.ts";

/** A Sallyport, which tells its paths. */
export interface FastifyApp extends AnsweringApp {
  readonly viewPaths: readonly string[];
  readonly tokenPath: string;
}

/** As much of Fastify's request as is needed. */
export interface FastifyRequest {
  readonly raw: IncomingMessage;
  readonly body: unknown;
}

/** As much of Fastify's reply as is needed. */
export interface FastifyReply {
  code(status: number): unknown;
  headers(values: Record<string, string>): unknown;
  send(body?: string): unknown;
  callNotFound(): unknown;
}

/** As much of Fastify's instance as is needed. */
export interface FastifyInstance {
  readonly prefix: string;
  removeAllContentTypeParsers(): unknown;
  addContentTypeParser(
    type: string,
    parser: (request: never, payload: never, done: (error: Error | null, body?: unknown) => void) => void,
  ): unknown;
  addHook(
    name: "onRequest",
    hook: (request: FastifyRequest, reply: unknown, done: () => void) => void,
  ): unknown;
  route(options: {
    method: string[];
    url: string;
    handler: (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;
  }): unknown;
}

/** All but POST is answered by the core as well: with what it allows. */
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;

/**
 * A plugin for Fastify: `fastify.register(fastifyPlugin(sallyport))`, perhaps with Fastify's own `prefix`. It adds Sallyport's routes;
 * inside it no body is parsed, whatever the app's parsers do elsewhere.
 */
export function fastifyPlugin(app: FastifyApp): (fastify: FastifyInstance) => Promise<void> {
  return async (fastify) => {
    app.start?.();
    fastify.removeAllContentTypeParsers();
    // A type that cannot be is no reason to refuse an event: nothing is read by it.
    fastify.addHook("onRequest", ({ raw }, _reply, done) => {
      raw.headers["content-type"] = "application/octet-stream";
      done();
    });
    // Left unread: the core reads as much as it takes.
    fastify.addContentTypeParser("*", (_request, _payload, done) => done(null, undefined));
    const handle = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
      const { raw } = request;
      const url = urlOf(raw, raw.url?.slice(fastify.prefix.length));
      if (!url) {
        reply.code(400);
        return reply.send();
      }
      const call = new NodeCall(raw, url, { source: request, parsedBody: () => request.body });
      const answer = await app.answer(call);
      if (!answer) return reply.callNotFound();
      reply.code(answer.status);
      reply.headers({ ...answer.headers });
      return reply.send(answer.body ?? undefined);
    };
    const urls = [...app.viewPaths.map((path) => `${path}/:event`), app.tokenPath];
    for (const url of urls) fastify.route({ method: [...METHODS], url, handler: handle });
  };
}

/**
 * Fastify's own request, with what plugins have put there, such as `session` and `user`: for `identify`, and for the author's
 * `connect()`.
 *
 * @returns undefined for a request that came another way
 */
export function fastifyRequest<Own extends FastifyRequest = FastifyRequest>(
  request: Request,
): Own | undefined {
  return originOf(request) as Own | undefined;
}
