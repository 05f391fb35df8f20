import { createServer } from "node:http";
import { createSallyport, handler, WebSocketView } from "sallyport";
import { expressMiddleware } from "sallyport/adapters/express";
import { sqlite } from "sallyport/storage/sqlite";

const [framework] = process.argv.slice(2);

class ChatView extends WebSocketView {
  static allowAnonymous = true;
  ping = handler(() => "pong");
}

const sallyport = createSallyport({
  storage: sqlite(":memory:"),
  permissions: [],
  views: { "/ws/chat": ChatView },
  allowMissingOrigin: true,
  authenticate: () => null,
});
await sallyport.migrate();
const middleware = expressMiddleware(sallyport);

const own = (_request, response) => {
  response.writeHead(200, { "content-type": "text/plain" });
  response.end("own");
};

const { default: make } = await import(framework);
const app = framework === "restify" ? make.createServer() : make();
if (framework === "restify") app.pre(middleware);
else app.use(middleware);
if (framework === "connect") app.use("/own", own);
else if (framework === "restify") {
  app.get("/own", (request, response, next) => {
    own(request, response);
    next();
  });
} else app.get("/own", own);

const listener = framework === "polka" ? app.handler : app;
const server = framework === "restify" ? app : createServer(listener);
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
