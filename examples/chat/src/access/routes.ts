import { type Context, Hono } from "hono";
import { resetAccess } from "../accounts.ts";
import { clearMessages } from "../messages.ts";
import { accessState } from "./access-state.ts";
import { consequencesOf } from "./consequences.ts";
import { Switch, turn } from "./switch.ts";

/**
 * The HTTP API of the panel with the switches. In a real app, only an administrator can call it. The
 * demo has no administrator, and listens on this machine only.
 */
export const accessRoutes = new Hono()
  .get("/", async (context) => context.json(await accessState()))
  .post("/switch", async (context) => {
    const given = await switchOf(context);
    if (!given) return context.json({ error: "The body must be a switch and its position." }, 400);
    await turn(given);
    return context.json(await accessState());
  })
  .post("/preview", async (context) => {
    const given = await switchOf(context);
    if (!given) return context.json({ error: "The body must be a switch and its position." }, 400);
    return context.json(await consequencesOf(given));
  })
  .post("/reset", async (context) => {
    await clearMessages();
    await resetAccess();
    return context.json(await accessState());
  });

async function switchOf(context: Context): Promise<Switch | undefined> {
  const body: unknown = await context.req.json().catch(() => undefined);
  return Switch.safeParse(body).data;
}
