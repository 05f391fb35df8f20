import { createServer, type Server } from "node:http";
import { nodeListener } from "sallyport/adapters/node";
import { gatewaySecret } from "sallyport/aws";
import { type LocalGateway, startLocalGateway } from "sallyport/local";
import { ACCOUNTS, PASSWORD, prepareAccounts } from "./accounts.ts";
import { makeApp } from "./app.ts";
import { prepareAuth } from "./auth.ts";
import { databasePath, db, prepareTables } from "./database.ts";
import { logDecisions } from "./decision-log.ts";
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
    target: `http://${HOST}:${port}/ws/chat/`,
    port: gatewayPort,
    stage: "dev",
    secret,
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
  const { apiId, endpoint, stage } = gateway;
  const local = { name: "local", apiId, endpoint, stage, secret };
  await sallyport.registerGateway({ ...local, hasRestarted: true });

  logDecisions();
  const app = makeApp(gateway.url.replace(HOST, "localhost"));
  serve({ fetch: (request) => app.fetch(request) });
  endWith(server, gateway);
  welcome(port, gateway);
}

function portInUse(name: string, port: number): string {
  const other = port < 65_000 ? port + 10 : 3000;
  return `Port ${port} is in use. Stop the other program, or use another port: ${name}=${other} npm start`;
}

/** Listens on a port immediately. Requests wait until `serve` is called with the app. */
async function listen(port: number) {
  let serve: (app: Parameters<typeof nodeListener>[0]) => void = () => undefined;
  const app = new Promise<Parameters<typeof nodeListener>[0]>((resolve) => {
    serve = resolve;
  });
  const server = createServer(nodeListener({ fetch: async (request) => (await app).fetch(request) }));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "EADDRINUSE" ? new Error(portInUse("PORT", port)) : error),
    );
    server.listen(port, HOST, resolve);
  });
  return { server, serve };
}

function endWith(server: Server, gateway: LocalGateway): void {
  const end = async () => {
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

function welcome(port: number, gateway: LocalGateway): void {
  const people = ACCOUNTS.map(({ email, may }) => `    ${email.padEnd(20)} ${may}`).join("\n");
  const database = process.env.DATABASE ? `DATABASE=${process.env.DATABASE} ` : "";
  console.log(`
  Sallyport chat    http://localhost:${port}
  Local gateway     ${gateway.url.replace(HOST, "localhost")}   (Management API ${gateway.endpoint.replace(HOST, "localhost")}/@connections)
  Database          ${databasePath}

  Sign in with the password ${PASSWORD} as
${people}

  Try this: sign in as Eve and press Send. The server denies access. Then, in a second terminal:
    ${database}npx sallyport users grant eve@example.com chat.can_use_chat
  and press Send again. After "users revoke", the connection of Eve is closed.
  To see the reason for a reference on the page:
    ${database}npx sallyport why REFERENCE

  Each denial is printed here in one line. Ctrl-C ends.
`);
}
