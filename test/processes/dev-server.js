// The server of dev-app.js. It listens on the port that `sallyport dev` chose.
import { createServer } from "node:http";
import { nodeListener } from "sallyport/adapters/node";
import { sallyport } from "./dev-app.js";

const next = (_request, response) => {
  response.end(
    JSON.stringify({ pid: process.pid, url: process.env.SALLYPORT_URL, urls: process.env.SALLYPORT_URLS }),
  );
};
createServer(nodeListener(sallyport, { next })).listen(Number(process.env.PORT), "127.0.0.1", () => {
  console.log("The server listens.");
});
