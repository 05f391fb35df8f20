// Code that must compile, and code that must not. `tsc` checks this file, which never runs.

import { z } from "zod";
import type { connect as Connect } from "../../src/client/socket.ts";
import {
  changeChannel,
  createSallyport,
  defineChannel,
  definePermissions,
  handler,
  type Permission,
  type Sallyport,
  type ViewLimits,
  WebSocketView,
} from "../../src/index.ts";
import { sqlite } from "../../src/storage/sqlite.ts";

const chat = definePermissions("chat", { use: "Use", moderate: "Moderate" });
declare const sallyport: Sallyport;
declare const connect: typeof Connect;

/** Fails to compile unless both types are the same. */
function same<A>() {
  return <B>(..._proof: [A] extends [B] ? ([B] extends [A] ? [] : ["differs"]) : ["differs"]) => undefined;
}

// Permissions

// @ts-expect-error a codename that was not declared
chat.usee;
// @ts-expect-error text is not a permission
const fromText: Permission = "chat.use";
same<Permission>()<typeof chat.use>();
sallyport.access.grant("user-7", chat.use);
// @ts-expect-error text is not a permission
sallyport.access.grant("user-7", "chat.use");
sallyport.access.grant("user-7", sallyport.permissions.parse("chat.use"), {
  until: new Date(),
  reason: "hired",
});
// @ts-expect-error a permission set is read-only
chat.use = chat.moderate;

// Views

const withId = z.object({ id: z.int() });

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use, chat.moderate];

  say = handler(
    { body: z.object({ message: z.string(), at: z.coerce.date() }) },
    async ({ body, user, connection, to }) => {
      same<{ message: string; at: Date }>()<typeof body>();
      same<string | undefined>()<typeof user.id>();
      same<string | undefined>()<typeof connection.channel>();
      await to({ channel: "x" }).send({ type: "said" });
      // @ts-expect-error not an audience
      to({ room: "x" });
      return { id: 7, at: new Date(), nothing: undefined, deep: [{ at: new Date() }] };
    },
  );

  remove = handler({ allPermissionsRequired: [chat.moderate] }, ({ user, body }) => {
    same<string>()<typeof user.id>();
    same<Readonly<Record<string, unknown>>>()<typeof body>();
  });

  own = handler(
    {
      body: z.object({ owner: z.int() }),
      signedIn: true,
      authorize: ({ body, user }) => {
        same<{ owner: number }>()<typeof body>();
        return user.id === String(body.owner);
      },
    },
    ({ user }) => user.id,
  );

  // @ts-expect-error the id of a message is the id of the call
  withId = handler({ body: withId }, () => undefined);
  // @ts-expect-error also in one form of a message only
  withIdInUnion = handler({ body: z.union([withId, z.object({ name: z.string() })]) }, () => 1);
  // @ts-expect-error also if it is optional
  withOptionalId = handler({ body: z.object({ id: z.string().optional() }), signedIn: true }, () => 1);
  anyFields = handler({ body: z.record(z.string(), z.unknown()) }, () => 1);
  anything = handler({ body: z.any() }, () => 1);
  unchecked = handler({ body: z.unknown() }, () => 1);
  text = handler({ body: z.looseObject({ text: z.string() }) }, ({ body }) => body.text);
  change_channel = changeChannel();
  ping = handler(() => "pong" as const);
  helper() {}
}

class Limited extends WebSocketView {
  static override signedIn = true;
  static override limits: ViewLimits = { messagesPerUser: 30, connectsPerUser: false, tokensPerUser: 5 };
  slow = handler({ limits: { messagesPerConnection: 10 } }, ({ user, body }) => {
    same<string | undefined>()<typeof user.id>();
    same<Readonly<Record<string, unknown>>>()<typeof body>();
  });
  // @ts-expect-error a limit of connects on a handler
  wrong = handler({ limits: { connectsPerIp: 1 } }, () => undefined);
  // @ts-expect-error a limit of tokens on a handler
  tokens = handler({ limits: { tokensPerUser: 1 } }, () => undefined);
  // @ts-expect-error a misspelled limit
  misspelled = handler({ limits: { messagesPerUsr: 1 } }, () => undefined);
}
class Looser extends Limited {
  static override limits = { connectsPerIp: false };
}
same<{ connectsPerIp: boolean }>()<typeof Looser.limits>();
// @ts-expect-error a limit is a number or false
class Unlimited extends WebSocketView {
  static override limits = { messagesPerUser: "30" };
}

class Narrower extends ChatView {
  static override permissionsRequired = [chat.moderate];
}

// @ts-expect-error a text is not a permission
class Mistaken extends WebSocketView {
  static override permissionsRequired = ["chat.use"];
}
class Misspelled extends WebSocketView {
  // @ts-expect-error an option with "override" must exist
  static override permissionRequired = [chat.use];
}

// @ts-expect-error text in a handler's rule
handler({ permissionsRequired: ["chat.use"] }, () => 1);
// @ts-expect-error a misspelt rule beside a known one
handler({ signedIn: true, permissionRequired: [chat.use] }, () => 1);
handler(
  {
    // A handler without a rule of its own cannot assume that there is a user.
    authorize: ({ user }) => {
      same<string | undefined>()<typeof user.id>();
      return true;
    },
  },
  () => 1,
);
// @ts-expect-error a handler without a function
handler({ body: z.object({}) });
// @ts-expect-error allowAnonymous is for views and channels
handler({ allowAnonymous: true }, () => 1);

// Channels

defineChannel("rooms/:slug", {
  permissionsRequired: [chat.use],
  authorize: ({ params, user }) => {
    same<string>()<typeof params.slug>();
    // @ts-expect-error no such parameter
    params.room;
    return user.id === params.slug;
  },
});
defineChannel("org/:org/room_:id", { signedIn: true, authorize: ({ params }) => params.org === params.id });
// @ts-expect-error text is not a permission
defineChannel("rooms/:slug", { permissionsRequired: ["chat.use"] });

// The app

createSallyport({
  storage: sqlite("x.db"),
  permissions: [chat],
  views: { "/ws/chat": ChatView, "/ws/narrow": Narrower },
  authenticate: () => null,
  origins: ["https://www.example.com"],
});
createSallyport({
  storage: sqlite("x.db"),
  // @ts-expect-error not made by definePermissions
  permissions: [{ use: "chat.use" }],
  // @ts-expect-error not a view
  views: { "/ws/chat": class {} },
  // @ts-expect-error a user without userId
  authenticate: () => ({ id: "x" }),
  origins: [],
});

// The browser client

const socket = connect<ChatView>({ url: "wss://ws.example.com" });
const said = await socket.call.say({ message: "hi", at: new Date() });
same<{ id: number; at: string; deep: { at: string }[] }>()<Pick<typeof said, "id" | "at" | "deep">>();
same<"pong">()<Awaited<ReturnType<typeof socket.call.ping>>>();
// @ts-expect-error a missing field
socket.call.say({ at: new Date() });
// @ts-expect-error a wrong field
socket.call.say({ message: 7, at: new Date() });
// @ts-expect-error a method is not a handler
socket.call.helper();
// @ts-expect-error no such handler
socket.call.shout({});
socket.call.change_channel({ channel: "rooms/general" });
socket.call.ping();

/** Has a type that a declaration file can name. */
export const room = defineChannel("rooms/:slug", { signedIn: true });
export { fromText, Misspelled, Mistaken, Unlimited };
