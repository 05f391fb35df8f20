import { tmpdir } from "node:os";
import { join } from "node:path";
import { definePermissions } from "../../../src/permissions/define.ts";
import { createSallyport } from "../../../src/sallyport.ts";
import { sqlite } from "../../../src/storage/sqlite.ts";
import { defineChannel } from "../../../src/views/channel.ts";
import { handler } from "../../../src/views/handler.ts";
import { WebSocketView } from "../../../src/views/view.ts";
import { KEY_HEADER, USER_HEADER, VIEW_PATH } from "../names.ts";

export const smoke = definePermissions("smoke", { use: "Use the smoke test" });

const room = defineChannel("smoke/:name", { permissionsRequired: [smoke.use] });

class SmokeView extends WebSocketView {
  static override permissionsRequired = [smoke.use];

  whoami = handler(({ user, connection }) => ({ user: user.id, channel: connection.channel }));
}

/**
 * The app of the smoke test. The database is a file of the instance, so the function must have one
 * instance: it has a reserved concurrency of 1.
 */
export const sallyport = createSallyport({
  storage: sqlite(join(tmpdir(), "sallyport-smoke.db")),
  permissions: [smoke],
  channels: [room],
  views: { [VIEW_PATH]: SmokeView },
  // The checks do not run in a browser.
  allowMissingOrigin: true,
  authenticate: ({ headers }) => {
    const userId = headers.get(USER_HEADER);
    const isAllowed = headers.get(KEY_HEADER) === process.env.SMOKE_KEY;
    return isAllowed && userId ? { userId, sessionId: `session of ${userId}` } : null;
  },
  token: { binding: "token" },
});
