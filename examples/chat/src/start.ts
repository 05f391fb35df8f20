import { createServer, type Server } from "node:http";
import { getRequestListener } from "@hono/node-server";
import type { Hono } from "hono";
import { gatewaySecret } from "sallyport/aws";
import { type LocalGateway, startLocalGateway } from "sallyport/local";
import { ACCOUNTS, prepareAccounts } from "./accounts.ts";
import { makeApp } from "./app.ts";
import { prepareAuth } from "./auth.ts";
import { databasePath, db, prepareTables } from "./database.ts";
import { observeChanges, observeGateway } from "./live/observer.ts";
import { writeFirstMessages } from "./messages.ts";
import { type PageConfig, VIEW } from "./page-contract.ts";
import { sallyport } from "./sallyport.ts";

const HOST = "127.0.0.1";

/**
 * Starts the chat, and the local gateway in front of it.
 *
 * @throws Error if a port is in use or the database cannot be opened
 */
export async function start(port: number, gatewayPort: number): Promise<void> {
  // Listen on both ports before opening the database, which another chat process may be using.
  const { server, serve } = await listen(port);
  const secret = gatewaySecret();
  const gateway = await startLocalGateway({
    target: `http://${HOST}:${port}${VIEW}/`,
    port: gatewayPort,
    stage: "dev",
    secret,
    onEvent: observeGateway,
    onError: (error, where) => console.error(`local gateway: ${where}:`, error),
  }).catch((error: Error) => {
    server.close();
    throw error.message.includes("in use") ? new Error(portInUse("GATEWAY_PORT", gatewayPort)) : error;
  });

  await prepareTables().catch((error: Error) => {
    throw new Error(
      `${databasePath} cannot be used as the database of the chat: ${error.message}. Use another file: DATABASE=FILE npm start`,
    );
  });
  await prepareAuth();
  await sallyport.migrate();
  await prepareAccounts();
  await writeFirstMessages();
  const { apiId, endpoint, stage } = gateway;
  const local = { name: "local", apiId, endpoint, stage, secret };
  await sallyport.registerGateway({ ...local, hasRestarted: true });

  serve(makeApp(configOf(gateway)));
  endWith(server, gateway, await observeChanges());
  welcome(port, gateway);
}

function portInUse(name: string, port: number): string {
  const other = port < 65_000 ? port + 10 : 3000;
  return `Port ${port} is in use. Stop the other program, or use another port: ${name}=${other} npm start`;
}

/** Listens on a port immediately. Requests wait until `serve` is called with the app. */
async function listen(port: number) {
  let serve: (app: Hono) => void = () => undefined;
  const app = new Promise<Hono>((resolve) => {
    serve = resolve;
  });
  const server = createServer(getRequestListener(async (request, env) => (await app).fetch(request, env)));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "EADDRINUSE" ? new Error(portInUse("PORT", port)) : error),
    );
    server.listen(port, HOST, resolve);
  });
  return { server, serve };
}

function endWith(server: Server, gateway: LocalGateway, stopObserving: () => void): void {
  const end = async () => {
    stopObserving();
    await gateway.close();
    server.closeAllConnections();
    server.close();
    await sallyport.close();
    await db.destroy();
    process.exit(0);
  };
  let ending = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (ending) process.exit(1);
      ending = true;
      console.log("\nThe chat has stopped.");
      end().catch((error) => {
        console.error(error);
        process.exit(1);
      });
    });
  }
}

/** Returns what the page needs. Its addresses have the same name of this machine as the page. */
function configOf({ url, inspectorUrl = "" }: LocalGateway): PageConfig {
  const named = (address: string) => address.replace(HOST, "localhost");
  return { gatewayUrl: named(url), inspectorUrl: named(inspectorUrl), commandPrefix: commandPrefix() };
}

/** Returns what a command of `npx sallyport` must begin with to use the same database, for a shell. */
function commandPrefix(): string {
  const path = process.env.DATABASE;
  if (!path) return "";
  return `DATABASE=${/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`} `;
}

function welcome(port: number, gateway: LocalGateway): void {
  const { gatewayUrl, inspectorUrl } = configOf(gateway);
  const people = ACCOUNTS.map(({ email, role }) => `    ${email.padEnd(20)} ${role}`).join("\n");
  const database = commandPrefix();
  console.log(`
  Sallyport demo    http://localhost:${port}
  Local gateway     ${gatewayUrl}   (inspector ${inspectorUrl})
  Database          ${databasePath}

${people}

  Open the page, and turn a switch of the panel "Access" off. The command line changes the same
  permissions:
    ${database}npx sallyport users grant eve@example.com chat.can_use_chat
    ${database}npx sallyport why REFERENCE

  Ctrl-C ends.
`);
}
