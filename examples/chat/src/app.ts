import { Hono } from "hono";
import { auth } from "./auth.ts";
import { page } from "./pages.ts";
import { chat } from "./permissions.ts";
import { listRooms } from "./rooms.ts";
import { sallyport } from "./sallyport.ts";

/**
 * Creates the HTTP app.
 *
 * @param gatewayUrl WebSocket URL of the gateway, which the page connects to
 */
export function makeApp(gatewayUrl: string): Hono {
  const app = new Hono();
  // Sallyport returns undefined for a path that it does not handle.
  app.use(async (context, next) => (await sallyport.fetch(context.req.raw)) ?? next());
  app.on(["GET", "POST"], "/api/auth/*", async (context) => (await auth()).handler(context.req.raw));
  app.get("/api/config", async (context) => context.json({ gatewayUrl, rooms: await listRooms() }));
  app.get("/api/me", async (context) => {
    const login = await (await auth()).api.getSession({ headers: context.req.raw.headers });
    if (!login) return context.json({ error: "Sign in first." }, 401);
    const { id, name, email } = login.user;
    const moderate = await sallyport.access.users.hasPermission(id, chat.can_moderate_chat);
    return context.json({ id, name, email, can: { moderate } });
  });
  app.get("*", async (context, next) => (await page(context.req.path)) ?? next());
  app.onError((error, context) => {
    console.error(error);
    return context.json({ error: "Internal error." }, 500);
  });
  return app;
}
