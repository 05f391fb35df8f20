// Code with permissions that must compile, and code that must not. `tsc` checks this file, which
// never runs. The cases are numbered.

import { z } from "zod";
import type { connect as Connect, SocketEvents } from "../../src/client/socket.ts";
import {
  type AccessChange,
  createSallyport,
  defineChannel,
  definePermissions,
  handler,
  modelPermissions,
  type Permission,
  type Sallyport,
  type SignedInUser,
  type User,
  WebSocketView,
} from "../../src/index.ts";
import type { TestApp } from "../../src/testing/testing.ts";

const chat = definePermissions("chat", { use: "Use", moderate: "Moderate" });
const blog = definePermissions("blog", { ...modelPermissions("article"), publish: "Publish" });
declare const sallyport: Sallyport;
declare const connect: typeof Connect;
declare const harness: TestApp;
declare const text: string;

/** Fails to compile unless both types are the same. */
function same<A>() {
  return <B>(..._proof: [A] extends [B] ? ([B] extends [A] ? [] : ["differs"]) : ["differs"]) => undefined;
}

// Declaring

// 1: a codename that was not declared
// @ts-expect-error
chat.usee;
// 2: text is not a permission
// @ts-expect-error
const fromText: Permission = "chat.use";
// 3: computed text is not a permission
// @ts-expect-error
const fromComputed: Permission = `${text}.use`;
// 4: a permission is a string
const asText: string = chat.use;
// 5: a set cannot be written to
// @ts-expect-error
chat.use = chat.moderate;
// 6: a label is text
// @ts-expect-error
definePermissions("shop", { buy: 7 });
// 7: each model has four permissions
same<Permission>()<typeof blog.add_article>();
const models: readonly Permission[] = [
  blog.change_article,
  blog.delete_article,
  blog.view_article,
  blog.publish,
];
// 8: and not a fifth
// @ts-expect-error
blog.read_article;
// 9: an unknown model
// @ts-expect-error
blog.add_comment;
// 10: only the selected actions
const readOnly = definePermissions("log", modelPermissions("entry", ["view"]));
same<Permission>()<typeof readOnly.view_entry>();
// @ts-expect-error
readOnly.add_entry;
// 11: an action is one of four
// @ts-expect-error
modelPermissions("entry", ["read"]);
// 12: the only conversion from text
same<Permission>()<ReturnType<typeof sallyport.permissions.parse>>();
// 13: it can return undefined
// @ts-expect-error
const maybe: Permission = sallyport.permissions.find(text);

// Views

class Base extends WebSocketView {
  // 14
  static override permissionsRequired = [chat.use, blog.publish];
  // 15
  static override allPermissionsRequired = [chat.moderate];
  ping = handler(() => "pong" as const);
}
// 16: a subclass narrows with other permissions
class Narrow extends Base {
  static override permissionsRequired = [blog.add_article];
}
// 17: a text is not a permission
// @ts-expect-error
class Text extends WebSocketView {
  static override permissionsRequired = ["chat.use"];
}
// 18: one permission is not a list
// @ts-expect-error
class Single extends WebSocketView {
  static override allPermissionsRequired = chat.use;
}
// 19: a flag is a boolean
// @ts-expect-error
class SignedInText extends WebSocketView {
  static override signedIn = "yes";
}
// 20
// @ts-expect-error
class AnonymousNumber extends WebSocketView {
  static override allowAnonymous = 1;
}
// 21: a set is not a list
// @ts-expect-error
class Whole extends WebSocketView {
  static override permissionsRequired = chat;
}

// Handlers, and the type of their user

// 22: undefined if the handler has no rule of its own
handler(({ user }) => same<string | undefined>()<typeof user.id>());
// 23: a string if any permission is required
handler({ permissionsRequired: [chat.use] }, ({ user }) => same<string>()<typeof user.id>());
// 24: a string if all permissions are required
handler({ allPermissionsRequired: [chat.use, chat.moderate] }, ({ user }) =>
  same<string>()<typeof user.id>(),
);
// 25: a string if a sign-in is required
handler({ signedIn: true }, ({ user }) => same<SignedInUser>()<typeof user>());
// 26: undefined if no sign-in is required
handler({ signedIn: false }, ({ user }) => same<User>()<typeof user>());
// 27: `authorize` has the same type
handler({ signedIn: true, authorize: ({ user }) => user.id.length > 0 }, () => 1);
// 28: and no more
// @ts-expect-error
handler({ authorize: ({ user }) => user.id.length > 0 }, () => 1);
// 29: require() narrows the type
handler(({ user }) => {
  same<string>()<ReturnType<typeof user.require>["id"]>();
  return user.require(chat.moderate).id.length;
});
// 30: without it the type is not narrowed
handler(({ user }) => {
  user.hasPermission(chat.moderate);
  // @ts-expect-error
  return user.id.length;
});
// 31: signedIn narrows the type
handler(({ user }) => (user.id === undefined ? "nobody" : user.id.length));
// 32: checks accept permissions
handler(({ user }) => [
  user.hasPermission(chat.use),
  user.hasAnyPermission([chat.use]),
  user.hasAllPermissions([chat.use]),
  user.hasAppPermissions(blog),
]);
// 33: not text
// @ts-expect-error
handler(({ user }) => user.hasPermission("chat.use"));
// 34: nor a list of text
// @ts-expect-error
handler(({ user }) => user.hasAnyPermission(["chat.use"]));
// 35: an app is identified by its set
// @ts-expect-error
handler(({ user }) => user.hasAppPermissions("chat"));
// 36: the permissions of the user are read-only
handler(({ user }) => {
  // @ts-expect-error
  user.isSuperuser = true;
});
// 37: a misspelled rule
// @ts-expect-error
handler({ permissionRequired: [chat.use] }, () => 1);
// 38: text in a rule
// @ts-expect-error
handler({ allPermissionsRequired: ["chat.use"] }, () => 1);

// Channels

// 39
defineChannel("rooms/:slug", { permissionsRequired: [chat.use], sendRequired: [chat.moderate] });
// 40: text
// @ts-expect-error
defineChannel("rooms/:slug", { sendRequired: ["chat.use"] });
// 41: hooks have the parameters of the pattern
defineChannel("org/:org/room/:room", {
  signedIn: true,
  authorize: ({ params }) => params.org === params.room,
  authorizeMany: ({ params, userIds }) => userIds.filter((id) => id === params.org),
});
// 42: and no others
// @ts-expect-error
defineChannel("org/:org", { signedIn: true, authorizeMany: ({ params }) => [params.room] });
// 43: authorizeMany returns ids
// @ts-expect-error
defineChannel("org/:org", { signedIn: true, authorizeMany: () => true });
// 44: a misspelled hook
// @ts-expect-error
defineChannel("org/:org", { signedIn: true, authorise: () => true });

// Changes and checks

// 45
sallyport.access.grant("ann", chat.use, { until: new Date(), by: "boss", reason: "hired" });
// 46: text
// @ts-expect-error
sallyport.access.grant("ann", "chat.use");
// 47: a group is an object
sallyport.access.revoke({ group: "Crew" }, chat.use, { by: "boss" });
// @ts-expect-error
sallyport.access.revoke({ groups: "Crew" }, chat.use);
// 48: an end is a Date or a number
// @ts-expect-error
sallyport.access.grant("ann", chat.use, { until: "tomorrow" });
// 49: change and preview accept the same type
const change: AccessChange = { kind: "grant", holder: "ann", permission: chat.use };
sallyport.access.preview(change);
sallyport.access.change(change, { by: "boss" });
// 50: of a known kind
// @ts-expect-error
sallyport.access.change({ kind: "promote", user: "ann" });
// 51: complete
// @ts-expect-error
sallyport.access.change({ kind: "grant", holder: "ann" });
// 52: with a permission
// @ts-expect-error
sallyport.access.change({ kind: "revoke", holder: "ann", permission: "chat.use" });
// 53
sallyport.access.users.withPermission(blog.publish, { active: "any", object: { channel: "rooms/a" } });
// @ts-expect-error
sallyport.access.users.withPermission("blog.publish");
// 54: the result depends on the kind of question
same<string>()<NonNullable<Awaited<ReturnType<typeof keptBy>>>["reference"]>();
const keptBy = (reference: string) => sallyport.access.explain(reference);
const wouldBe = () => sallyport.access.explain({ user: null, view: "/ws/chat" });
// @ts-expect-error
same<string>()<Awaited<ReturnType<typeof wouldBe>>["reference"]>();

// Audiences

// 55
sallyport.to({ permission: chat.moderate }).send({});
sallyport.to(
  { channel: "rooms/a" },
  { permissionsRequired: [chat.use], allPermissionsRequired: [chat.moderate] },
);
// 56: text
// @ts-expect-error
sallyport.to({ permission: "chat.moderate" });
// 57: text in a requirement
// @ts-expect-error
sallyport.to("everyone", { permissionsRequired: ["chat.use"] });
// 58: not an audience
// @ts-expect-error
sallyport.to({ group: "Crew" });
// 59: no other word for "everyone"
// @ts-expect-error
sallyport.to("all");
// 60: the same in a handler
handler(async ({ to }) => {
  await to({ permission: chat.use }).preview();
  // @ts-expect-error
  await to({ permission: "chat.use" }).send({});
});

// The app

createSallyport({
  storage: null as never,
  // 61: only permission sets
  permissions: [chat, blog, readOnly],
  views: { "/ws/base": Base, "/ws/narrow": Narrow },
  authenticate: () => null,
  origins: [],
});
// 62: a list of permissions is not a set
createSallyport({
  storage: null as never,
  // @ts-expect-error
  permissions: [[chat.use]],
  views: { "/ws/base": Base },
  authenticate: () => null,
  origins: [],
});

// The client and tests: only handlers

class Desk extends WebSocketView {
  static override signedIn = true;
  tell = handler(
    { body: z.object({ what: z.string() }), permissionsRequired: [chat.use] },
    ({ body }) => body.what,
  );
  secret = "not for sockets";
  helper() {}
}
const socket = connect<Desk>({ url: "wss://ws.example.com" });
// 63
same<string>()<Awaited<ReturnType<typeof socket.call.tell>>>();
// 64: rules are not part of the client type
// @ts-expect-error
socket.call.permissionsRequired;
// 65: neither are other fields and methods
// @ts-expect-error
socket.call.secret;
// @ts-expect-error
socket.call.helper;
// 66: a notice never names a permission
socket.on("revoked", (notice: SocketEvents<unknown>["revoked"]) => {
  same<string>()<typeof notice.reference>();
  // @ts-expect-error
  return notice.permission;
});
// 67: a test connection has the type of the view too
const tested = await harness.connectAs<Desk>("ann", { permissions: [chat.use] });
same<string>()<Awaited<ReturnType<typeof tested.call.tell>>>();
tested.expectForbidden("tell", { what: "no" });
// 68: and so have its denials
// @ts-expect-error
tested.expectForbidden("helper");
// 69: permissions of a test are permissions
// @ts-expect-error
harness.connectAs("ann", { permissions: ["chat.use"] });

export {
  AnonymousNumber,
  asText,
  fromComputed,
  fromText,
  maybe,
  models,
  Narrow,
  SignedInText,
  Single,
  type Text,
  Whole,
};
