import { fileURLToPath } from "node:url";
import { serveStatic } from "@hono/node-server/serve-static";
import { Hono } from "hono";
import { csrf } from "hono/csrf";
import { HTTPException } from "hono/http-exception";
import { secureHeaders } from "hono/secure-headers";
import { honoMiddleware } from "sallyport/adapters/hono";
import { accessRoutes } from "./access/routes.ts";
import { authOf } from "./auth.ts";
import { observeReset } from "./live/observer.ts";
import { liveRoutes } from "./live/routes.ts";
import type { PageConfig } from "./page-contract.ts";
import { PANES } from "./panes.ts";
import { peopleRoutes } from "./people-routes.ts";
import { sallyport } from "./sallyport.ts";
import { ownHosts, ownOrigins } from "./settings.ts";

/** The folder of the built page. */
const PAGE = fileURLToPath(new URL("../dist/page/", import.meta.url));

/** Creates the HTTP app. */
export function makeApp(config: PageConfig): Hono {
  const app = new Hono();
  // A page of another origin cannot call the API. The number of live streams is limited, so its requests
  // would close the streams of this page.
  app.use("/api/*", async (context, next) => {
    const site = context.req.header("sec-fetch-site");
    return site === "cross-site" || site === "same-site"
      ? context.json({ error: "Only pages of this origin can call the API." }, 403)
      : next();
  });
  app.use(honoMiddleware(sallyport));
  // A page of another site cannot reach the API, also not with a name that resolves to this machine.
  app.use(async (context, next) => {
    const host = context.req.header("host") ?? "";
    return ownHosts().includes(host) ? next() : context.json({ error: `Unknown host ${host}.` }, 403);
  });
  app.use(csrf({ origin: ownOrigins() }));
  app.use(
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'self'"],
        // Mantine sets styles in attributes and in a style element.
        styleSrc: ["'self'", "'unsafe-inline'"],
        connectSrc: ["'self'", "ws:", "wss:"],
        imgSrc: ["'self'", "data:"],
        baseUri: ["'none'"],
        frameAncestors: ["'none'"],
      },
    }),
  );
  for (const pane of PANES) {
    app.on(["GET", "POST"], `/api/auth/${pane}/*`, async (context) =>
      (await authOf(pane)).handler(context.req.raw),
    );
  }
  app.get("/api/config", (context) => context.json(config));
  app.route("/api/me", peopleRoutes);
  app.post("/api/access/reset", async (_context, next) => {
    observeReset();
    await next();
  });
  app.route("/api/access", accessRoutes);
  app.route("/api/live", liveRoutes);
  app.use(serveStatic({ root: PAGE }));
  app.onError((error, context) => {
    if (error instanceof HTTPException) return error.getResponse();
    console.error(error);
    return context.json({ error: "Internal error. Read the output of npm start." }, 500);
  });
  return app;
}
