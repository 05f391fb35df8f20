import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { NOW, padded } from "../postgres/database.ts";
import type { World } from "./world.ts";

/** A request that the fake Management API received. */
export interface ArrivedCall {
  readonly method: string;
  readonly connection: string;
  readonly body: string;
}

/** A fake Management API. Its connections exist only as database rows, and a test decides its responses. */
export class GatewayServer {
  readonly endpoint: string;
  readonly calls: ArrivedCall[] = [];
  /** Returns the status of a response. A promise delays the response. */
  answer: (call: ArrivedCall) => number | Promise<number> = () => 200;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dev`;
  }

  static async start(): Promise<GatewayServer> {
    const server = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      const connection = decodeURIComponent(request.url?.split("/").at(-1) ?? "");
      const call = { method: request.method ?? "", connection, body };
      gateway.calls.push(call);
      response.writeHead(await gateway.answer(call)).end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const gateway = new GatewayServer(server);
    return gateway;
  }

  /** Registers this gateway and inserts open connections of a user, with the ids `00001=`, `00002=`, … */
  async open(world: World, name: string, user: string, from: number, count: number): Promise<void> {
    await world.sallyport.registerGateway({ name, endpoint: this.endpoint });
    await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
      with recursive n(i) as (select ${from} union all select i + 1 from n where i < ${from + count - 1})
      select ${padded("i", 5)}, (select id from sallyport_gateways where name = '${name}'), ${padded("i", 5)} || '=',
        '/ws/chat', '${user}', ${NOW} - 60000, 0 from n`);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
