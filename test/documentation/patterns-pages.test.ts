import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPage } from "./pages.ts";
import { createPageApp, RunnablePage } from "./run-page.ts";

describe("the samples of docs/guides/message-patterns.md", () => {
  let page: RunnablePage;
  // biome-ignore lint/suspicious/noExplicitAny: the types of a sample are checked where it is compiled
  let [permissions, chat, tasks, documents, views]: any[] = [];
  // biome-ignore lint/suspicious/noExplicitAny: as above
  let app: any;

  beforeAll(async () => {
    page = await RunnablePage.compile(readPage("docs/guides/message-patterns.md"));
    [permissions, chat, tasks, documents] = await Promise.all(
      ["permissions.ts", "chat-view.ts", "task-view.ts", "document-changes.ts"].map((file) =>
        page.import(file),
      ),
    );
    const [notifications, dashboard, read] = await Promise.all(
      ["notifications-view.ts", "dashboard.ts", "read-view.ts"].map((file) => page.import(file)),
    );
    views = {
      "/ws/chat": chat.ChatView,
      "/ws/tasks": tasks.TaskView,
      "/ws/notifications": notifications.NotificationsView,
      "/ws/dashboard": dashboard.DashboardView,
      "/ws/read": read.ReadView,
    };
    app = await createPageApp({
      permissions: Object.values(permissions),
      channels: [chat.room, tasks.task, documents.document],
      views,
    });
  });
  afterAll(async () => {
    await app?.close();
    await page?.remove();
  });

  test("a chat stores a message, and sends it to the members of the room", async () => {
    const { addMember } = await page.import("rooms.ts");
    for (const name of ["ann", "bob"]) await addMember(name, "general");
    const options = {
      view: "/ws/chat",
      channel: "rooms/general",
      permissions: [permissions.chat.can_use_chat],
    };
    const ann = await app.connectAs("ann", options);
    const bob = await app.connectAs("bob", options);
    await app.expectForbidden("eve", options);
    await ann.call.say({ text: "hello" });
    expect(bob.message("chat_message")).toMatchObject({ from: "ann", text: "hello" });
    expect(await bob.call.history()).toMatchObject([{ author: "ann", text: "hello" }]);
  });

  test("a toast reaches all tabs of one user", async () => {
    const { notify } = await page.import("notify.ts");
    const tabs = [
      await app.connectAs("tom", { view: "/ws/notifications" }),
      await app.connectAs("tom", { view: "/ws/notifications" }),
    ];
    expect(await notify(app.sallyport, "tom", "Saved")).toBe(2);
    for (const tab of tabs) expect(tab.message("toast").text).toBe("Saved");
    expect(await notify(app.sallyport, "nobody", "Saved")).toBe(0);
  });

  test("the progress of a task reaches its owner, and no other user can join its channel", async () => {
    const { reportProgress } = await page.import("task-progress.ts");
    const ann = await app.connectAs("ann", { view: "/ws/tasks" });
    const { id } = await ann.call.start();
    await reportProgress(app.sallyport, id, 40);
    expect(ann.message("progress")).toMatchObject({ id, percent: 40 });
    await app.expectForbidden("eve", { view: "/ws/tasks", channel: `tasks/${id}` });
  });

  test("figures reach the holders of the permission, until they lose it", async () => {
    const { publishFigures } = await page.import("dashboard.ts");
    const { view_figures } = permissions.reports;
    await app.connectAs("fay", { view: "/ws/dashboard", permissions: [view_figures] });
    expect(await publishFigures(app.sallyport, { orders: 3 })).toMatchObject({ recipients: 1, sent: 1 });
    await app.sallyport.access.revoke("fay", view_figures);
    expect(await publishFigures(app.sallyport, { orders: 4 })).toMatchObject({ recipients: 0 });
  });

  test("a change of a document reaches its owner only", async () => {
    const { documentChanged } = await page.import("document-changes.ts");
    const options = { view: "/ws/notifications", channel: "documents/plan" };
    const ann = await app.connectAs("ann", options);
    await app.expectForbidden("eve", options);
    await documentChanged(app.sallyport, "plan", 7);
    expect(ann.message("document_changed")).toMatchObject({ id: "plan", version: 7 });
  });

  test("all tabs of a user learn what was read", async () => {
    const [one, other] = [
      await app.connectAs("ann", { view: "/ws/read" }),
      await app.connectAs("ann", { view: "/ws/read" }),
    ];
    await one.call.mark_read({ messageId: 3, tab: "one" });
    expect(other.message("read")).toMatchObject({ messageId: 3, tab: "one" });
  });

  test("a maintenance message reaches everyone", async () => {
    const { announceMaintenance } = await page.import("announce-maintenance.ts");
    const ann = await app.connectAs("ann", { view: "/ws/notifications" });
    await announceMaintenance(app.sallyport, new Date(0));
    expect(ann.message("maintenance").at).toBe("1970-01-01T00:00:00.000Z");
  });
});

describe("the samples of docs/guides/multi-tenancy.md", () => {
  let page: RunnablePage;
  // biome-ignore lint/suspicious/noExplicitAny: the types of a sample are checked where it is compiled
  let [permissions, memberships]: any[] = [];

  beforeAll(async () => {
    page = await RunnablePage.compile(readPage("docs/guides/multi-tenancy.md"));
    [permissions, memberships] = await Promise.all(
      ["permissions.ts", "memberships.ts"].map((file) => page.import(file)),
    );
  });
  afterAll(() => page?.remove());

  async function appOf(channelFile: string) {
    const [{ tenantRoom }, { TenantView }] = await Promise.all(
      [channelFile, "tenant-view.ts"].map((file) => page.import(file)),
    );
    return createPageApp({
      permissions: [permissions.orders],
      channels: [tenantRoom],
      views: { "/ws": TenantView },
    });
  }

  test("a user posts in the tenant of the connection, and leaves it when the membership ends", async () => {
    const { removeMember } = await page.import("remove-member.ts");
    for (const [name, tenant] of [
      ["ann", "acme"],
      ["ann", "globex"],
      ["bob", "acme"],
    ]) {
      await memberships.addMembership(name, tenant);
    }
    const app = await appOf("tenant-channel.ts");
    const ann = await app.connectAs("ann", { channel: "tenants/acme/rooms/general" });
    const bob = await app.connectAs("bob", { channel: "tenants/acme/rooms/general" });
    await app.expectForbidden("bob", { channel: "tenants/globex/rooms/general" });
    await ann.call.post({ text: "hello" });
    expect(bob.message("post")).toMatchObject({ tenant: "acme", text: "hello" });

    await removeMember(app.sallyport, "bob", "acme");
    expect(bob.message("sallyport.revoked")).toMatchObject({ channel: "tenants/acme/rooms/general" });
    expect(bob.isClosed).toBe(false);
    const { suspendTenant } = await page.import("suspend-tenant.ts");
    await suspendTenant(app.sallyport, "acme");
    expect(ann.message("sallyport.revoked")).toMatchObject({ channel: "tenants/acme/rooms/general" });
    await app.connectAs("ann", { channel: "tenants/globex/rooms/general" });
    await app.close();
  });

  test("a strict channel delivers nothing to a user who has left, also without a recheck", async () => {
    await memberships.addMembership("cas", "initech");
    const app = await appOf("strict-tenant-channel.ts");
    await app.connectAs("cas", { channel: "tenants/initech/rooms/general" });
    await memberships.removeMembership("cas", "initech");
    const audience = app.sallyport.to({ channel: "tenants/initech/rooms/general" });
    expect(await audience.send({ type: "post" })).toMatchObject({ recipients: 1, sent: 0, denied: 1 });
    await app.close();
  });

  test("an order of another tenant is denied", async () => {
    const { OrdersView } = await page.import("orders-view.ts");
    const app = await createPageApp({ permissions: [permissions.orders], views: { "/ws": OrdersView } });
    const options = { permissions: [permissions.orders.view_order] };
    const ann = await app.connectAs("acme.ann", options);
    expect(await ann.call.show_order({ orderId: 1 })).toEqual({ id: 1, tenant: "acme" });
    const eve = await app.connectAs("globex.eve", options);
    for (const orderId of [1, 2]) await eve.expectForbidden("show_order", { orderId });
    await app.close();
  });
});
