// An app whose setup a test of `sallyport doctor` breaks with environment variables.
import { createSallyport, defineChannel, definePermissions, handler, WebSocketView } from "sallyport";
import { defineGateway } from "sallyport/aws";
import { postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";

const { DOCTOR_OPTIONS, DOCTOR_USER, DOCTOR_FAILURE, DOCTOR_GATEWAY, DOCTOR_PERMISSION } = process.env;
const sent = async () => ({ kind: "ok" });
if (DOCTOR_FAILURE) throw new TypeError(DOCTOR_FAILURE);
console.log("The app prints this line.");

const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  ...(DOCTOR_PERMISSION ? { [DOCTOR_PERMISSION]: "Another permission" } : {}),
});

function storage() {
  const source = process.env.TEST_DATABASE;
  if (!source.startsWith("postgres:")) return sqlite(source);
  const url = new URL(source);
  const schema = url.searchParams.get("schema") ?? undefined;
  url.searchParams.delete("schema");
  return postgres(url.href, { schema });
}

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.can_use_chat];
  send_message = handler(() => ({ ok: true }));
}

export const sallyport = createSallyport({
  storage: storage(),
  permissions: [chat],
  channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.can_use_chat] })],
  views: { "/ws/chat": ChatView, ...(process.env.DOCTOR_SECOND_VIEW ? { "/ws/second": ChatView } : {}) },
  origins: ["http://localhost:3000", "https://www.example.com"],
  authenticate: () => {
    if (DOCTOR_USER === "broken") throw new Error("The session store is\u001b[31m away.");
    return DOCTOR_USER ? { userId: DOCTOR_USER } : null;
  },
  gateways: DOCTOR_GATEWAY
    ? [
        defineGateway({
          name: "chat",
          region: "eu-west-1",
          target: "https://www.example.com/ws/chat",
          ...JSON.parse(DOCTOR_GATEWAY),
        }),
      ]
    : [],
  // Without it, the check of IAM would call AWS.
  ...(process.env.DOCTOR_CLIENT
    ? { apiGateway: { client: { post: sent, delete: sent, close: async () => undefined } } }
    : {}),
  ...JSON.parse(DOCTOR_OPTIONS ?? "{}"),
});
