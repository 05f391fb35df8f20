import { channel } from "node:diagnostics_channel";
import { type ConnectContext, defineChannel, definePermissions, handler, WebSocketView } from "sallyport";

/** Reports to the suite, which runs in the same process but in another bundle. */
export const reports = channel("sallyport:next-app");

export const chat = definePermissions("chat", { use: "Use" });
export const rooms = defineChannel("rooms/:slug", { permissionsRequired: [chat.use] });

/** The view of the suite, with the installed package. */
export class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  override connect = ({ request }: ConnectContext) => {
    reports.publish({ agent: request.headers.get("x-client") });
  };
  override disconnect = ({ code }: { code?: number | undefined }) => reports.publish({ left: code });
  say = handler(async ({ body, to }) => {
    await to({ channel: "rooms/all" }).send({ type: "said", ...(body as object) });
    return body;
  });
}
