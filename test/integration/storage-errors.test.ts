import { expect, onTestFinished, test } from "vitest";
import { StorageError } from "../../src/errors.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import { emptyDatabase, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";

const gateway = { name: "local", endpoint: "http://127.0.0.1:1/dev", secret: "s".repeat(64) };

/** Operations of the public API that use the database, except those that create tables. */
const OPERATIONS: Readonly<Record<string, (sallyport: Sallyport) => Promise<unknown>>> = {
  enforce: (app) => app.enforce(),
  listSessions: (app) => app.listConnections(),
  registerGateway: (app) => app.registerGateway(gateway),
  forgetSessions: (app) => app.closeAllConnectionRows({ id: "g" } as never),
  cleanup: (app) => app.cleanup(),
  send: (app) => app.to({ user: "ann" }).send({ type: "x" }),
  "preview of a send": (app) => app.to({ user: "ann" }).preview(),
  "close connections": (app) => app.to({ user: "ann" }).close(),
  grant: (app) => app.access.grant("ann", chat.can_use_chat),
  revoke: (app) => app.access.revoke("ann", chat.can_use_chat),
  recheck: (app) => app.access.recheck({ user: "ann" }),
  endSession: (app) => app.access.endSession("s"),
  preview: (app) => app.access.preview({ kind: "revoke", holder: "ann", permission: chat.can_use_chat }),
  hasPermission: (app) => app.access.hasPermission("ann", chat.can_use_chat),
  "hasPermission of a channel": (app) =>
    app.access.hasPermission("ann", chat.can_use_chat, { channel: "rooms/a" }),
  hasAnyPermission: (app) => app.access.hasAnyPermission("ann", [chat.can_use_chat]),
  hasAllPermissions: (app) => app.access.hasAllPermissions("ann", [chat.can_use_chat]),
  hasAppPermissions: (app) => app.access.hasAppPermissions("ann", chat),
  permissionsOf: (app) => app.access.permissionsOf("ann"),
  usersWithPermission: (app) => app.access.usersWithPermission(chat.can_use_chat),
  "usersWithPermission of a channel": (app) =>
    app.access.usersWithPermission(chat.can_use_chat, { object: { channel: "rooms/a" } }),
  groups: (app) => app.access.groups(),
  show: (app) => app.access.show("ann"),
  listUsers: (app) => app.access.listUsers(),
  limits: (app) => app.access.limits(),
  clearLimits: (app) => app.access.clearLimits({ all: true }),
  "why of a reference": (app) => app.access.explain("0123456789ab"),
  why: (app) => app.access.explain({ user: "ann", view: "/ws/chat" }),
  decisions: (app) => app.access.decisions(),
  whoCan: (app) => app.access.whoCan(chat.can_use_chat),
  whatCan: (app) => app.access.whatCan("ann"),
  audit: (app) => app.access.audit(),
  permissions: (app) => app.access.permissions(),
  compareRules: (app) => app.access.compareRules(),
};

test.each(Object.keys(OPERATIONS))("%s rejects with a StorageError before migrate()", async (name) => {
  const database = await emptyDatabase();
  const sallyport = createSallyport({
    storage: storageAt(database.source),
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => null,
    onError: () => undefined,
  });
  onTestFinished(async () => {
    await sallyport.close();
    await database.drop();
  });
  const failure: unknown = await OPERATIONS[name]?.(sallyport).then(
    () => "it resolved",
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(StorageError);
  expect(failure).toMatchObject({
    code: "SALLYPORT_NOT_MIGRATED",
    message: expect.stringContaining("npx sallyport migrate"),
  });
});
