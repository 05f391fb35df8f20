import { sqlite } from "sallyport/storage/sqlite";

/** Users, groups, permissions and connections are stored here. */
export const storage = sqlite(process.env.DATABASE_FILE ?? "data/sallyport.db");
