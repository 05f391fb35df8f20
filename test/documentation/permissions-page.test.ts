import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Page, readPage } from "./pages.ts";
import { createPageApp, RunnablePage } from "./run-page.ts";

const page = readPage("docs/permissions.md");

/** The section that documents each statement of the page of the Python package, S1 to S55. */
const SECTIONS: Readonly<Record<string, readonly number[]>> = {
  Permissions: [1, 2, 3, 4, 7],
  "Authenticate first": [8, 9],
  "Declare permissions": [18, 19],
  "Assign permissions to users and groups": [20],
  "Require any permission": [5, 10],
  "Require all permissions": [6, 11],
  "Combine rules": [12],
  "Protect a single handler": [23],
  "Check a permission in a handler": [21, 22],
  "Check the object, not only the permission": [13, 14, 15],
  "Allow only the handlers that clients need": [16, 17],
  "A channel name is no proof of access": [24, 25, 26, 27],
  "Recommended patterns": [28, 29, 30],
  "Do not trust values from the client": [31],
  "A complete chat": [32],
  "The channel is trusted": [33],
  "The permission is checked only when the page loads": [34],
  "Too many handlers are exposed": [35],
  "The error says too much": [36, 37],
  "Test permissions": [38, 39, 40, 41, 42, 43, 44, 45],
  "Production checklist": [46, 47, 48, 49, 50, 51, 52, 53, 54],
};

const headingsOf = ({ text }: Page) => [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading);

test("each statement of the page of the Python package has a section with a sample", () => {
  const numbers = Object.values(SECTIONS).flat();
  expect(numbers).toEqual([...new Set(numbers)]);
  expect(numbers.toSorted((one, other) => one - other)).toEqual(
    Array.from({ length: 54 }, (_, index) => index + 1),
  );
  expect(headingsOf(page)).toEqual(expect.arrayContaining(Object.keys(SECTIONS)));
  const withSample = new Set(page.samples.map(({ section }) => section));
  expect(Object.keys(SECTIONS).filter((section) => !withSample.has(section))).toEqual([]);
});

describe("the samples", () => {
  let samples: RunnablePage;
  // biome-ignore lint/suspicious/noExplicitAny: exports of samples, whose types are checked elsewhere
  let [chat, channels, rooms]: any[] = [];

  beforeAll(async () => {
    samples = await RunnablePage.compile(page);
    ({ chat } = await samples.import("permissions.ts"));
    channels = await samples.import("channels.ts");
    rooms = await samples.import("rooms.ts");
  });
  afterAll(() => samples?.remove());

  /** A test app with one view of the page. */
  async function appOf(file: string, name: string) {
    const [{ [name]: View }, permissions] = await Promise.all(
      [file, "permissions.ts"].map((each) => samples.import(each)),
    );
    return createPageApp({
      permissions: [permissions.chat, permissions.projects],
      channels: Object.values(channels),
      views: { "/ws": View },
    });
  }

  /** Returns which combinations of permissions can connect to a view. */
  async function admitted(file: string, name: string): Promise<readonly string[]> {
    const app = await appOf(file, name);
    const combinations: readonly (readonly string[])[] = [[], ["use"], ["moderate"], ["use", "moderate"]];
    const passed: string[] = [];
    for (const names of combinations) {
      const user = names.join("+") || "none";
      const permissions = names.map((each) => chat[`can_${each}_chat`]);
      await app.connectAs(user, { permissions }).then(
        () => passed.push(user),
        () => undefined,
      );
    }
    await app.close();
    return passed;
  }

  test("require any, all, or both of the permissions", async () => {
    expect(await admitted("room-view.ts", "RoomView")).toEqual(["use", "moderate", "use+moderate"]);
    expect(await admitted("moderation-view.ts", "ModerationView")).toEqual(["use+moderate"]);
    expect(await admitted("staff-view.ts", "StaffView")).toEqual(["use+moderate"]);
    expect(await admitted("chat-view.ts", "ChatView")).toEqual(["use", "use+moderate"]);
    expect(await admitted("profile-view.ts", "ProfileView")).toEqual([
      ...["none", "use", "moderate", "use+moderate"],
    ]);
  });

  test("accept anonymous users only where the view says so", async () => {
    const open = await appOf("status-view.ts", "StatusView");
    const visitor = await open.connectAs(null);
    expect(await visitor.call.status()).toEqual({ state: "operational" });
    await open.close();
    const closed = await appOf("profile-view.ts", "ProfileView");
    await closed.expectForbidden(null);
    await closed.close();
  });

  test("protect a single handler, also in a subclass", async () => {
    for (const [file, name, handler, body] of [
      ["message-view.ts", "MessageView", "delete_message", { messageId: 1 }],
      ["audited-view.ts", "AuditedView", "purge", {}],
      ["right-delete.ts", "RightView", "delete_message", { messageId: 1 }],
    ] as const) {
      const app = await appOf(file, name);
      const ann = await app.connectAs("ann", { permissions: [chat.can_use_chat] });
      expect((await ann.expectForbidden(handler, body)).missing).toEqual(["chat.can_moderate_chat"]);
      await app.sallyport.access.grant("ann", chat.can_moderate_chat);
      await ann.call[handler](body);
      await app.close();
    }
  });

  test("decide with a function that lists cannot express", async () => {
    const { canArchive } = await samples.import("archive-view.ts");
    const holds = (...held: readonly string[]) => ({ hasPermission: (each: string) => held.includes(each) });
    expect(canArchive(holds(chat.can_moderate_chat), 3)).toBe(true);
    expect(canArchive(holds(chat.can_broadcast_chat), 0)).toBe(true);
    expect(canArchive(holds(chat.can_broadcast_chat), 3)).toBe(false);
    const app = await appOf("archive-view.ts", "ArchiveView");
    const ann = await app.connectAs("ann", { permissions: [chat.can_use_chat] });
    await ann.expectForbidden("archive", { room: "general" });
    await app.sallyport.access.grant("ann", chat.can_broadcast_chat);
    expect(await ann.call.archive({ room: "general" })).toEqual({ archived: "general" });
    await app.close();
  });

  test("check permissions in a handler", async () => {
    const app = await appOf("broadcast-view.ts", "BroadcastView");
    const ann = await app.connectAs("ann", { permissions: [chat.can_use_chat] });
    await ann.expectForbidden("broadcast", { message: "hello", urgent: false });
    await app.sallyport.access.grant("ann", chat.can_broadcast_chat);
    await ann.call.broadcast({ message: "hello", urgent: false });
    expect(ann.message("broadcast").message).toBe("hello");
    const decision = await ann.expectForbidden("broadcast", { message: "hello", urgent: true });
    expect(decision.message).toContain("only moderators send urgent broadcasts");
    await app.close();
  });

  test("check the object: only members of a project, of a room or of a tenant", async () => {
    const { projects } = await samples.import("permissions.ts");
    const { addProjectMember, removeProjectMember } = await samples.import("project-members.ts");
    const app = await appOf("project-view.ts", "ProjectView");
    const ann = await app.connectAs("ann", { permissions: [projects.view_project] });
    await ann.expectForbidden("subscribe", { projectId: "apollo" });
    await addProjectMember("ann", "apollo");
    await ann.call.subscribe({ projectId: "apollo" });
    const apollo = app.sallyport.to({ channel: "projects/apollo" });
    expect(await apollo.preview()).toMatchObject({ recipients: 1 });
    await removeProjectMember("ann", "apollo");
    await app.sallyport.access.recheck({ channel: "projects/apollo" });
    expect(await apollo.preview()).toMatchObject({ recipients: 0 });
    await app.close();

    const orders = await appOf("orders-view.ts", "OrdersView");
    const user = await orders.connectAs("acme.ann");
    expect(await user.call.list_orders({ page: 1 })).toEqual([{ id: 1, tenant: "acme" }]);
    await orders.close();

    const staff = await appOf("tenant-view.ts", "TenantView");
    await staff.expectForbidden("ann", { permissions: [chat.can_use_chat] });
    await rooms.addMember("ann", "staff");
    await staff.connectAs("ann", { permissions: [chat.can_use_chat] });
    await staff.close();
  });

  test("expose only the handlers that clients need", async () => {
    const app = await appOf("support-view.ts", "SupportView");
    const ann = await app.connectAs("ann", { permissions: [chat.can_use_chat] });
    expect(await ann.call.send_message({ message: "help" })).toMatchObject({ text: "help", author: "ann" });
    for (const name of ["import_messages", "store", "#store", "_store", "constructor"]) {
      await ann.expectForbidden(name, { message: "help" });
    }
    await app.close();
    const wrong = await appOf("wrong-helpers.ts", "WrongView");
    const eve = await wrong.connectAs("eve");
    expect(await eve.call.store({ room: "general", text: "forged" })).toMatchObject({ text: "forged" });
    await wrong.close();
    const right = await appOf("right-helpers.ts", "RightView");
    await (await right.connectAs("eve")).expectForbidden("store", { room: "general", text: "forged" });
    await right.close();
  });

  test("give no access by the name of a channel", async () => {
    const app = await appOf("admin-notifications-view.ts", "AdminNotificationsView");
    const both = [chat.can_moderate_chat, chat.can_broadcast_chat];
    await app.expectForbidden("ann", { channel: "admin", permissions: [chat.can_use_chat] });
    await app.connectAs("mo", { permissions: both });
    await app.expectForbidden("mo", { channel: "notifications/ann", permissions: both });
    await app.expectForbidden("mo", { channel: "unknown", permissions: both });
    await app.close();
  });

  test("show each mistake, and its correction", async () => {
    const { storeMessage } = await samples.import("messages.ts");
    await storeMessage("rooms/secret", "a secret");
    const wrong = await appOf("wrong-history.ts", "WrongView");
    const eve = await wrong.connectAs("eve");
    expect(await eve.call.history({ channel: "rooms/secret" })).toHaveLength(1);
    await wrong.close();
    const right = await appOf("right-history.ts", "RightView");
    await (await right.connectAs("eve")).expectForbidden("history", { channel: "rooms/secret" });
    await right.close();

    const open = await appOf("wrong-delete.ts", "WrongView");
    expect(await (await open.connectAs("eve")).call.delete_message({ messageId: 1 })).toEqual({ deleted: 1 });
    await open.close();

    const telling = await appOf("wrong-errors.ts", "WrongView");
    const told = await (await telling.connectAs("eve")).send({ handler: "read", documentId: "plan" });
    expect(told).toMatchObject({ status: 400 });
    expect(JSON.stringify(told.body)).toContain("belongs to ann");
    await telling.close();
    const silent = await appOf("right-errors.ts", "RightView");
    const answer = await (await silent.connectAs("eve")).send({ handler: "read", documentId: "plan" });
    expect(answer).toMatchObject({ status: 403, body: { error: "Permission denied." } });
    await silent.close();
  });

  test("test the eight cases of the complete chat", async () => {
    const output = await samples.test("src/permissions.test.ts");
    expect(output).toMatch(/^# pass 8$/m);
    expect(output).toMatch(/^# fail 0$/m);
  });
});
