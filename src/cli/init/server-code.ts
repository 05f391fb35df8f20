import type { Framework, Project } from "./project.ts";

/** Lines of code that a user adds to an app, which `init` prints. */
interface FrameworkCode {
  /** What the module of the adapter exports for the server and for `authenticate`. */
  readonly names: { readonly adapter: string; readonly request?: string };
  /** The import of the type of a request, in TypeScript. */
  readonly type?: string;
  /** Finds the variable of the server, and its usual name. `SERVER` in a line stands for it. */
  readonly variable: { readonly pattern: RegExp; readonly usual: string };
  /** The lines that pass requests to Sallyport. */
  readonly mount: readonly string[];
  /** The lines of a route. The answer is the value of the expression `content`. */
  readonly route: (path: string, type: "json" | "js", content: string) => readonly string[];
  /** The lines of `authenticate`. `<Type>` is removed in JavaScript. */
  readonly authenticate: readonly string[];
}

const MIME_TYPES = { json: "application/json", js: "text/javascript" } as const;

const CODE: Readonly<Record<Exclude<Framework, "next">, FrameworkCode>> = {
  express: {
    names: { adapter: "expressMiddleware", request: "expressRequest" },
    type: 'import type express from "express";',
    variable: { pattern: /(\w+)\s*=\s*express\(/, usual: "app" },
    mount: ["SERVER.use(expressMiddleware(sallyport)); // after the session, before body parsers"],
    route: (path, type, content) => [
      `SERVER.get("${path}", (request, response) => response.type("${type}").send(${content}));`,
    ],
    authenticate: [
      "authenticate: (request) => {",
      "  const own = expressRequest<express.Request & { user?: { id: string } }>(request);",
      "  return own?.user ? { userId: own.user.id } : null;",
      "},",
    ],
  },
  fastify: {
    names: { adapter: "fastifyPlugin", request: "fastifyRequest" },
    type: 'import type { FastifyRequest } from "fastify";',
    variable: { pattern: /(\w+)\s*=\s*fastify\(/i, usual: "fastify" },
    mount: ["SERVER.register(fastifyPlugin(sallyport)); // after the session"],
    route: (path, type, content) => [
      `SERVER.get("${path}", (request, reply) => reply.type("${MIME_TYPES[type]}").send(${content}));`,
    ],
    authenticate: [
      "authenticate: (request) => {",
      "  const own = fastifyRequest<FastifyRequest & { user?: { id: string } }>(request);",
      "  return own?.user ? { userId: own.user.id } : null;",
      "},",
    ],
  },
  hono: {
    names: { adapter: "honoMiddleware", request: "honoContext" },
    type: 'import type { Context } from "hono";',
    variable: { pattern: /(\w+)\s*=\s*new Hono\b/, usual: "app" },
    mount: ["SERVER.use(honoMiddleware(sallyport)); // after the session"],
    route: (path, type, content) => [
      `SERVER.get("${path}", (context) => context.body(${content}, 200, { "content-type": "${MIME_TYPES[type]}" }));`,
    ],
    authenticate: [
      "authenticate: (request) => {",
      '  const user = honoContext<Context<{ Variables: { user?: { id: string } } }>>(request)?.get("user");',
      "  return user ? { userId: user.id } : null;",
      "},",
    ],
  },
  node: {
    names: { adapter: "nodeListener" },
    variable: { pattern: /createServer\((\w+)\)/, usual: "app" },
    mount: ["createServer(nodeListener(sallyport, { next })).listen(Number(process.env.PORT || 3000));"],
    route: (path, type, content) => [
      `if (request.url === "${path}") {`,
      `  return response.setHeader("content-type", "${MIME_TYPES[type]}").end(${content});`,
      "}",
    ],
    authenticate: [
      "authenticate: async ({ headers }) => {",
      '  const session = await readSession(headers.get("cookie")); // your own function',
      "  return session ? { userId: session.userId, sessionId: session.id } : null;",
      "},",
    ],
  },
};

/** With express-session. The field of the user depends on the app. */
const EXPRESS_SESSION = [
  "authenticate: (request) => {",
  "  const own = expressRequest<express.Request & { session?: { userId?: string } }>(request);",
  "  return own?.session?.userId ? { userId: own.session.userId, sessionId: own.sessionID } : null;",
  "},",
];

/** With better-auth, as in the template next-better-auth. */
const NEXT_AUTHENTICATE = [
  'import { auth } from "./auth"; // your own file',
  "authenticate: async ({ headers }) => {",
  "  const session = await auth.api.getSession({ headers });",
  "  return session ? { userId: session.user.id, sessionId: session.session.id } : null;",
  "},",
];

/**
 * Returns the lines that a server needs: imports, middleware, and a route for what the page needs.
 *
 * @param app the module specifier of the Sallyport object
 */
export function serverLines(project: Project, app: string): readonly string[] {
  const { framework, hasBundler, serverText } = project;
  if (framework === "next") return ['serverExternalPackages: ["sallyport"], // in next.config'];
  const { names, variable, mount, route } = CODE[framework];
  const url = "JSON.stringify({ url: process.env.SALLYPORT_URL })";
  const routes = [
    ...route("/api/config.json", "json", url),
    ...(hasBundler ? [] : route("/sallyport-client.js", "js", "client")),
  ];
  const lines = [
    ...(hasBundler ? [] : [importLine(project, "readFileSync", "node:fs")]),
    ...(framework === "node" ? httpImports(project) : []),
    importLine(project, names.adapter, `sallyport/adapters/${framework}`),
    importLine(project, "sallyport", app),
    ...(hasBundler ? [] : [clientLine(project)]),
    ...(framework === "node" ? nextFunction(project, routes) : []),
    ...mount,
    ...(framework === "node" ? [] : routes),
  ];
  const [, name = variable.usual] = variable.pattern.exec(serverText) ?? [];
  return lines.map((line) => line.replace("SERVER", name));
}

function httpImports(project: Project): readonly string[] {
  const types = 'import type { IncomingMessage, ServerResponse } from "node:http";';
  return [
    ...(/\bcreateServer\b/.test(project.serverText)
      ? []
      : [importLine(project, "createServer", "node:http")]),
    ...(project.language === "typescript" ? [types] : []),
  ];
}

/** Returns the listener of a server without a framework, for the requests that are not Sallyport's. */
function nextFunction({ language }: Project, routes: readonly string[]): readonly string[] {
  const parameters =
    language === "typescript" ? "request: IncomingMessage, response: ServerResponse" : "request, response";
  return [
    `function next(${parameters}) {`,
    ...routes.map((line) => `  ${line}`),
    "  return SERVER(request, response); // your own listener",
    "}",
  ];
}

/** Returns the lines with which `authenticate` returns the signed-in user, and their import. */
export function authenticateLines(project: Project): readonly string[] {
  const { framework, language, packages } = project;
  if (framework === "next") return NEXT_AUTHENTICATE;
  const { names, type } = CODE[framework];
  const hasSessions = framework === "express" && "express-session" in packages;
  const authenticate = hasSessions ? EXPRESS_SESSION : CODE[framework].authenticate;
  const untyped = (line: string) => line.replace(/<.*>(?=\()/, "");
  return [
    // The file of the Sallyport object is an ES module in each app.
    ...(names.request ? [`import { ${names.request} } from "sallyport/adapters/${framework}";`] : []),
    ...(language === "typescript" && type ? [type] : []),
    ...(language === "typescript" ? authenticate : authenticate.map(untyped)),
  ];
}

/** Returns the lines with which a page connects. */
export function pageLines({ framework, hasBundler }: Project): readonly string[] {
  const connect = [
    'const socket = connect({ url, token: "/api/ws-token", view: "/ws/chat" });',
    'socket.on("message", (message) => console.log(message));',
    'socket.on("denied", ({ error, reference }) => console.log(error, reference));',
    'socket.on("revoked", () => console.log("Your access has ended."));',
    'socket.on("error", ({ message }) => console.log(message));',
    '// await socket.call.say({ text: "hello" }); // calls a handler of the view',
    "// socket.reconnect(); // connects again after access was given",
  ];
  const config = 'const { url } = await (await fetch("/api/config.json")).json();';
  if (framework === "next") return ['import { connect } from "sallyport/client";', ...connect];
  if (hasBundler) return ['import { connect } from "sallyport/client";', config, ...connect];
  return [
    '<script type="module">',
    ...['import { connect } from "/sallyport-client.js";', config, ...connect].map((line) => `  ${line}`),
    "</script>",
  ];
}

function importLine({ language, isServerModule }: Project, name: string, module: string): string {
  return language === "typescript" || isServerModule
    ? `import { ${name} } from "${module}";`
    : `const { ${name} } = require("${module}");`;
}

/** The client of Sallyport is one file, so a page needs no bundler. */
function clientLine({ isServerModule }: Project): string {
  const file = isServerModule
    ? 'new URL(import.meta.resolve("sallyport/client"))'
    : 'require.resolve("sallyport/client")';
  return `const client = readFileSync(${file}, "utf8");`;
}
