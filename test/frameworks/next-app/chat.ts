import { channel } from "node:diagnostics_channel";
import { type ConnectContext, defineChannel, definePermissions, handler, WebSocketView } from "sallyport";

/** Tells the suite, which runs in the same process and not in the same bundle, what the app hears. */
export const heard = channel("sallyport:next-app");

export const chat = definePermissions("chat", { use: "Use" });
export const rooms = defineChannel("rooms/:slug", { permissionsRequired: [chat.use] });

/** The suite's own view, of the package as an app installs it. */
export class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  override connect = ({ request }: ConnectContext) => {
    heard.publish({ agent: request.headers.get("x-client") });
  };
  override disconnect = ({ code }: { code?: number | undefined }) => heard.publish({ left: code });
  say = handler(async ({ body, to }) => {
    await to({ channel: "rooms/all" }).send({ type: "said", ...(body as object) });
    return body;
  });
}
