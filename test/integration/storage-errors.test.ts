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
  "registerGateway after a restart": (app) => app.registerGateway({ ...gateway, hasRestarted: true }),
  cleanup: (app) => app.cleanup(),
  send: (app) => app.to({ user: "ann" }).send({ type: "x" }),
  "preview of a send": (app) => app.to({ user: "ann" }).preview(),
  "close connections": (app) => app.to({ user: "ann" }).close(),
  grant: (app) => app.access.grant("ann", chat.can_use_chat),
  revoke: (app) => app.access.revoke("ann", chat.can_use_chat),
  recheck: (app) => app.access.recheck({ user: "ann" }),
  endSession: (app) => app.access.endSession("s"),
  preview: (app) => app.access.preview({ kind: "revoke", holder: "ann", permission: chat.can_use_chat }),
  hasPermission: (app) => app.access.users.hasPermission("ann", chat.can_use_chat),
  "hasPermission of a channel": (app) =>
    app.access.users.hasPermission("ann", chat.can_use_chat, { channel: "rooms/a" }),
  hasAnyPermission: (app) => app.access.users.hasAnyPermission("ann", [chat.can_use_chat]),
  hasAllPermissions: (app) => app.access.users.hasAllPermissions("ann", [chat.can_use_chat]),
  hasAppPermissions: (app) => app.access.users.hasAppPermissions("ann", chat),
  permissionsOf: (app) => app.access.users.permissions("ann"),
  usersWithPermission: (app) => app.access.users.withPermission(chat.can_use_chat),
  "usersWithPermission of a channel": (app) =>
    app.access.users.withPermission(chat.can_use_chat, { object: { channel: "rooms/a" } }),
  groups: (app) => app.access.groups.list(),
  show: (app) => app.access.users.get("ann"),
  listUsers: (app) => app.access.users.list(),
  limits: (app) => app.access.limits.list(),
  clearLimits: (app) => app.access.limits.clear({ all: true }),
  "why of a reference": (app) => app.access.explain("0123456789ab"),
  why: (app) => app.access.explain({ user: "ann", view: "/ws/chat" }),
  decisions: (app) => app.access.audit.decisions(),
  whoCan: (app) => app.access.permissions.holders(chat.can_use_chat),
  whatCan: (app) => app.access.users.access("ann"),
  audit: (app) => app.access.audit.list(),
  permissions: (app) => app.access.permissions.list(),
  compareRules: (app) => app.access.permissions.ruleChanges(),
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
