import type { IncomingMessage } from "node:http";
import { endsWithOwnPath } from "../protocol/path.ts";
import type { AppHandler } from "./app-handler.ts";
import { frameworkRequest, NodeCall, OwnTarget } from "./node-call.ts";

/** A Sallyport, which tells its paths. */
export interface FastifyApp extends AppHandler {
  readonly viewPaths: readonly string[];
  readonly tokenPath: string;
  readonly healthPath?: string | undefined;
}

/** As much of Fastify's request as is needed. */
export interface FastifyRequest {
  readonly raw: IncomingMessage;
  readonly params: unknown;
  /** `url` is the whole pattern of the route as the app wrote it, prefixes included. */
  readonly routeOptions?: { readonly url?: string | undefined };
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

/** The methods of each route. Sallyport decides which of them a path accepts, so that all adapters answer alike. */
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
    /** @param path Sallyport's own, whatever Fastify's prefix is */
    const handle = async (request: FastifyRequest, reply: FastifyReply, path: string): Promise<unknown> => {
      const { raw } = request;
      const { url: target = "/" } = raw;
      const [query = ""] = /\?.*$/s.exec(target) ?? [];
      // Fastify decodes a path before it finds the route, and may ignore case and slashes.
      const isWritten = endsWithOwnPath(target, path) && hasSpellingOf(target, request.routeOptions?.url);
      const own = isWritten ? OwnTarget.of(raw, `${path}${query}`) : undefined;
      const call =
        own && new NodeCall(raw, own, { by: "fastify", source: request, parsedBody: () => undefined });
      const answer = call && (await app.answer(call));
      // A body that nobody read to its end must not hold up the connection's next request.
      if (!raw.complete) raw.resume();
      if (!answer) return reply.callNotFound();
      reply.code(answer.status);
      reply.headers({ ...answer.headers });
      return reply.send(answer.body ?? undefined);
    };
    for (const path of app.viewPaths) {
      fastify.route({
        method: [...METHODS],
        // A parameter could have 100 characters at most: Fastify answers 414 for more.
        url: `${path}/*`,
        handler: (request, reply) => handle(request, reply, `${path}/${restOf(request)}`),
      });
    }
    fastify.route({
      method: [...METHODS],
      url: app.tokenPath,
      handler: (request, reply) => handle(request, reply, app.tokenPath),
    });
    const { healthPath } = app;
    if (healthPath !== undefined) {
      fastify.route({
        method: [...METHODS],
        url: healthPath,
        handler: (request, reply) => handle(request, reply, healthPath),
      });
    }
  };
}

/**
 * Returns true if each segment of a request target is written like that of the route, letters included. With `caseSensitive: false`
 * Fastify ignores case, also in the app's prefix. Segments with a parameter match any text.
 */
function hasSpellingOf(target: string, pattern = ""): boolean {
  const segments = target.replace(/\?.*$/s, "").split("/");
  return pattern
    .split("/")
    .every((written, index) => /[:*]/.test(written) || written === decoded(segments[index] ?? ""));
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function restOf({ params }: FastifyRequest): string {
  return String((params as { readonly "*"?: unknown } | undefined)?.["*"]);
}

/**
 * Fastify's own request, with what plugins have put there, such as `session` and `user`: for `authenticate`, and for the author's
 * `connect()`.
 *
 * @returns undefined for a request that came another way
 */
export function fastifyRequest<Own extends FastifyRequest = FastifyRequest>(
  request: Request,
): Own | undefined {
  return frameworkRequest("fastify", request) as Own | undefined;
}
