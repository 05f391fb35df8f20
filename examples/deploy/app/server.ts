import { createServer } from "node:http";
import { nodeListener } from "sallyport/adapters/node";
import { prepare } from "./prepare.ts";
import { sallyport } from "./sallyport.ts";

await prepare();
const server = createServer(nodeListener(sallyport));
// Longer than the idle timeout of the load balancer, 60 s by default.
server.keepAliveTimeout = 65_000;
server.listen(Number(process.env.PORT || 3000));

process.once("SIGTERM", () => {
  server.close(() => void sallyport.close());
  // A load balancer keeps its connections open and would continue to send events on them.
  setInterval(() => server.closeIdleConnections(), 100).unref();
});
