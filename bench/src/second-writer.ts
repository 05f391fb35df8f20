import { benchApp, chat } from "./bench-app.js";
import { storageOf } from "./event-app.js";

/** A process that changes permissions in the database at argv[2], one change after another, until it is killed. */
const app = benchApp(storageOf(process.argv[2] ?? ""));
for (let change = 0; ; change++) {
  if (change % 2 === 0) await app.access.grant("u1", chat.moderate);
  else await app.access.revoke("u1", chat.moderate);
  if (change === 0) process.send?.("writing");
}
