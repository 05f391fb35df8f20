import type { IncomingMessage } from "node:http";
import { INTERNAL } from "../internal.ts";
import { endsWithOwnPath } from "../protocol/path.ts";
import type { AppHandler } from "./app-handler.ts";
import { frameworkRequest, NodeRequest, OwnTarget } from "./node-request.ts";

/** The part of a Sallyport object that the adapter uses. */
export interface FastifyApp extends AppHandler {
  readonly viewPaths: readonly string[];
  readonly tokenPath: string;
  readonly healthPath?: string | undefined;
}

/** The properties of a Fastify request that the adapter uses. */
export interface FastifyRequest {
  readonly raw: IncomingMessage;
  readonly params: unknown;
  /** `url` is the complete pattern of the route, including prefixes. */
  readonly routeOptions?: { readonly url?: string | undefined };
}

/** The methods of a Fastify reply that the adapter uses. */
export interface FastifyReply {
  code(status: number): unknown;
  headers(values: Record<string, string>): unknown;
  send(body?: string): unknown;
  callNotFound(): unknown;
}

/** The methods of a Fastify instance that the adapter uses. */
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

/**
 * HTTP methods of each route. Sallyport rejects methods itself, so that all adapters behave the
 * same.
 */
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;

/**
 * Returns a plugin for Fastify: `fastify.register(fastifyPlugin(sallyport))`.
 *
 * It adds the routes of Sallyport. The option `prefix` of `register()` works. No body is parsed in
 * these routes, and body parsers of the app are not affected.
 *
 * @param app the Sallyport object. Fastify starts its background jobs when it loads the plugin
 */
export function fastifyPlugin(app: FastifyApp): (fastify: FastifyInstance) => Promise<void> {
  return async (fastify) => {
    app[INTERNAL].start();
    fastify.removeAllContentTypeParsers();
    // Fastify would reject an invalid content type, but Sallyport does not use it.
    fastify.addHook("onRequest", ({ raw }, _reply, done) => {
      raw.headers["content-type"] = "application/octet-stream";
      done();
    });
    // The body stays unread here. Sallyport reads it up to its limit.
    fastify.addContentTypeParser("*", (_request, _payload, done) => done(null, undefined));
    /** @param path the path of Sallyport, without the prefix of Fastify */
    const handle = async (request: FastifyRequest, reply: FastifyReply, path: string): Promise<unknown> => {
      const { raw } = request;
      const { url: target = "/" } = raw;
      const [query = ""] = /\?.*$/s.exec(target) ?? [];
      // Fastify decodes a path before it finds the route, and can ignore case and slashes.
      const isSamePath = endsWithOwnPath(target, path) && hasSpellingOf(target, request.routeOptions?.url);
      const own = isSamePath ? OwnTarget.of(raw, `${path}${query}`) : undefined;
      const call =
        own && new NodeRequest(raw, own, { by: "fastify", source: request, parsedBody: () => undefined });
      const answer = call && (await app[INTERNAL].answer(call));
      // An unread rest of the body would block the next request on the connection.
      if (!raw.complete) raw.resume();
      if (!answer) return reply.callNotFound();
      reply.code(answer.status);
      reply.headers({ ...answer.headers });
      return reply.send(answer.body ?? undefined);
    };
    for (const path of app.viewPaths) {
      fastify.route({
        method: [...METHODS],
        // Not a parameter: Fastify responds with 414 if one has more than 100 characters.
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
 * Returns whether each segment of a request target equals that of the route, including its case.
 *
 * With `caseSensitive: false`, Fastify ignores case, also in the prefix. Segments with a parameter
 * match any text.
 */
function hasSpellingOf(target: string, pattern = ""): boolean {
  const segments = target.replace(/\?.*$/s, "").split("/");
  return pattern
    .split("/")
    .every((segment, index) => /[:*]/.test(segment) || segment === decoded(segments[index] ?? ""));
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
 * Returns the Fastify request of a web `Request`, with properties of plugins such as `session` and
 * `user`. Call it in `authenticate` and in `connect()` of a view.
 *
 * @returns `undefined` for a request that this adapter did not create
 */
export function fastifyRequest<Own extends FastifyRequest = FastifyRequest>(
  request: Request,
): Own | undefined {
  return frameworkRequest("fastify", request) as Own | undefined;
}
