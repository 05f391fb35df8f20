import type { Framework, Project } from "./existing-app.ts";
import { type PackageManager, runCommand } from "./package-manager.ts";

/** The lines that add Sallyport to a server, by framework. */
const MOUNT: Readonly<Record<Framework, readonly string[]>> = {
  express: [
    'import { expressMiddleware } from "sallyport/adapters/express";',
    "app.use(expressMiddleware(sallyport)); // before body parsers",
  ],
  fastify: [
    'import { fastifyPlugin } from "sallyport/adapters/fastify";',
    "await fastify.register(fastifyPlugin(sallyport));",
  ],
  hono: ['import { honoMiddleware } from "sallyport/adapters/hono";', "app.use(honoMiddleware(sallyport));"],
  node: [
    'import { nodeListener } from "sallyport/adapters/node";',
    "createServer(nodeListener(sallyport, { next: app })).listen(process.env.PORT);",
  ],
  next: ['serverExternalPackages: ["sallyport"], // in next.config.ts'],
};

/** Returns what remains to be done in an existing project. */
export function nextSteps(project: Project, manager: PackageManager): readonly string[] {
  const { framework, sources } = project;
  const app = `${sources}sallyport/sallyport.ts`;
  return [
    `Add these lines to ${framework === "next" ? "the configuration" : "your server"}:`,
    ...MOUNT[framework].map((line) => `    ${line}`),
    `Return your signed-in user from "authenticate" in ${app}.`,
    runCommand(manager, "dev:sallyport"),
  ];
}
