import { benchApp, chat } from "./bench-app.js";
import { openDatabase } from "./database.js";

/**
 * In a child process: changes permissions in the database at argv[2] until the process is killed.
 */
const app = benchApp(openDatabase(process.argv[2] ?? ""));
for (let change = 0; ; change++) {
  if (change % 2 === 0) await app.access.grant("u1", chat.moderate);
  else await app.access.revoke("u1", chat.moderate);
  if (change === 0) process.send?.("writing");
}
