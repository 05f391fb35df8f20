// An app in JavaScript, as `sallyport dev` loads it. Its server is dev-server.js.
import { createSallyport, defineChannel, definePermissions, handler, WebSocketView } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";

export const chat = definePermissions("chat", { use: "Can use chat", moderate: "Can moderate" });

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  fail = handler(() => {
    throw new Error("this handler fails");
  });
  forbidden = handler({ permissionsRequired: [chat.moderate] }, () => undefined);
  whoami = handler(({ user }) => ({ user: user.id, pid: process.pid }));
}

function storage() {
  const source = process.env.TEST_DATABASE;
  if (!source.startsWith("postgres:")) return sqlite(source);
  const url = new URL(source);
  const schema = url.searchParams.get("schema");
  url.searchParams.delete("schema");
  return postgres(url.href, { schema });
}

export const sallyport = createSallyport({
  storage: storage(),
  permissions: [chat],
  channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })],
  views: { "/ws/chat": ChatView },
  origins: ["http://localhost:3000"],
  // The user of a request is the value of its cookie, such as `user=ann`.
  authenticate: ({ headers }) => {
    const userId = /user=(\w+)/.exec(headers.get("cookie") ?? "")?.[1];
    return userId === undefined ? null : { userId };
  },
  users: { describe: (ids) => Object.fromEntries(ids.map((id) => [id, `${id}@example.com`])) },
});
