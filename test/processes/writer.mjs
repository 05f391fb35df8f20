// Writes to a SQLite file for ten seconds, as another process of the same app would.
import { sqlite } from "../../dist/storage/sqlite.js";

const storage = sqlite(process.argv[2]);
process.send("ready");
const until = Date.now() + 10_000;
for (let n = 0; Date.now() < until; n++) {
  await storage.write((db) =>
    db
      .insertInto("sallyport_groups")
      .values({ name: `theirs ${n}`, created_at: storage.now })
      .execute(),
  );
}
await storage.close();
process.disconnect();
