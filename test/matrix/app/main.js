// Connects a user, calls a handler, sends to the user, and revokes the permission. Prints what each step returned.
import { once } from "node:events";
import { createServer } from "node:http";
import { nodeListener } from "sallyport/adapters/node";
import { gatewaySecret } from "sallyport/aws";
import { connect } from "sallyport/client";
import { startLocalGateway } from "sallyport/local";
import { WebSocket } from "ws";
import { chat, ORIGIN, sallyport } from "./sallyport.js";

const headers = { origin: ORIGIN, cookie: "user=ann" };

class BrowserSocket extends WebSocket {
  constructor(url) {
    super(url, { headers });
  }
}

const server = createServer(nodeListener(sallyport)).listen(0, "127.0.0.1");
await once(server, "listening");
const app = `http://127.0.0.1:${server.address().port}`;
const secret = gatewaySecret();
const gateway = await startLocalGateway({ target: `${app}/ws/chat/`, port: 0, secret });
const { apiId, endpoint } = gateway;
await sallyport.registerGateway({ name: "local", apiId, endpoint, secret });
await sallyport.access.grant("ann", chat.can_use_chat);

const socket = connect({
  url: gateway.url,
  WebSocket: BrowserSocket,
  token: async () => {
    const response = await fetch(`${app}/api/ws-token`, { method: "POST", headers });
    if (!response.ok) throw new Error(`The token endpoint returned ${response.status}.`);
    return (await response.json()).token;
  },
});
const nextEvent = (name) =>
  new Promise((resolve) => {
    const stop = socket.on(name, (event) => {
      stop();
      resolve(event);
    });
  });

const answer = await socket.call.whoami();
const arrives = nextEvent("message");
await sallyport.to({ user: "ann" }).send({ type: "hello" });
const message = await arrives;
const isRevoked = nextEvent("revoked");
await sallyport.access.revoke("ann", chat.can_use_chat);
const { scope } = await isRevoked;
console.log(JSON.stringify({ answer, message, revoked: scope, state: socket.state }));

socket.close();
await gateway.close();
await sallyport.close();
server.close();
server.closeAllConnections();
