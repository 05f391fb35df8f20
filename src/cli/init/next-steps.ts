import { existsSync } from "node:fs";
import { join } from "node:path";
import { type PackageManager, runCommand } from "./package-manager.ts";
import type { Framework, Project } from "./project.ts";
import { importExtension, resolutionChange } from "./tsconfig.ts";

/** The lines that add Sallyport to a server, by framework. `SALLYPORT` is the import of the app. */
const MOUNT: Readonly<Record<Framework, readonly string[]>> = {
  express: [
    'import { expressMiddleware } from "sallyport/adapters/express";',
    "SALLYPORT",
    "app.use(expressMiddleware(sallyport)); // after the session, before body parsers",
  ],
  fastify: [
    'import { fastifyPlugin } from "sallyport/adapters/fastify";',
    "SALLYPORT",
    "await fastify.register(fastifyPlugin(sallyport));",
  ],
  hono: [
    'import { honoMiddleware } from "sallyport/adapters/hono";',
    "SALLYPORT",
    "app.use(honoMiddleware(sallyport));",
  ],
  node: [
    'import { nodeListener } from "sallyport/adapters/node";',
    "SALLYPORT",
    "createServer(nodeListener(sallyport, { next: app })).listen(process.env.PORT);",
  ],
  next: ['serverExternalPackages: ["sallyport"], // in next.config.ts'],
};

const CLIENT = [
  'import { connect } from "sallyport/client";',
  'const socket = connect({ url, token: "/api/ws-token", view: "/ws/chat" });',
  'socket.on("message", (message) => console.log(message));',
];

const indented = (lines: readonly string[]) => lines.map((line) => `    ${line}`);

/** Returns what remains to be done in an existing project. */
export function nextSteps(project: Project, manager: PackageManager): readonly string[] {
  const { framework, sources, typescript, isJavaScript } = project;
  const app = `${sources}sallyport/sallyport.ts`;
  const change = resolutionChange(typescript);
  const own = `import { sallyport } from "${relativeImport(project)}";`;
  return [
    ...(change ? [`Set ${change} in tsconfig.json, so that TypeScript finds "sallyport/client".`] : []),
    ...(isJavaScript && framework !== "next"
      ? ['Run your server with tsx instead of node, because the new files are TypeScript: "tsx server.js".']
      : []),
    `Add these lines to ${framework === "next" ? "the configuration" : "your server"}:`,
    ...indented(MOUNT[framework].map((line) => (line === "SALLYPORT" ? own : line))),
    `Return your signed-in user from "authenticate" in ${app}.`,
    ...(framework === "express"
      ? ['expressRequest(request) from "sallyport/adapters/express" returns the request with its session.']
      : []),
    "Connect from a page. The server receives the value of url as SALLYPORT_URL:",
    ...indented(CLIENT),
    runCommand(manager, "dev:sallyport"),
  ];
}

/** Returns the module specifier of the app in the server of the project. */
function relativeImport({ folder, sources, typescript }: Project): string {
  const file = `sallyport/sallyport${importExtension(typescript)}`;
  const servers = ["server", "index", "app", "main"].flatMap((name) =>
    ["ts", "js", "mjs", "cjs", "mts"].map((extension) => `${name}.${extension}`),
  );
  const hasServer = (path: string) => servers.some((name) => existsSync(join(folder, path, name)));
  return sources !== "" && !hasServer(sources) && hasServer("") ? `./${sources}${file}` : `./${file}`;
}
