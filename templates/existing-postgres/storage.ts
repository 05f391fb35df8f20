import { postgres } from "sallyport/storage/postgres";

/** Users, groups, permissions and connections are stored here. */
export const storage = postgres(process.env.DATABASE_URL);
