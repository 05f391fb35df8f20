import { Signer } from "@aws-sdk/rds-signer";
import { postgres } from "sallyport/storage/postgres";

const { DATABASE_URL, DATABASE_IAM } = process.env;

/**
 * The database at `DATABASE_URL`. If `DATABASE_IAM` is set, the password is a token of IAM.
 *
 * An instance of the function handles one event at a time, so it needs few connections. It does not
 * listen for changes, because Lambda freezes it between two events.
 */
export const storage = postgres(DATABASE_URL, {
  poolSize: 2,
  listen: false,
  ...(DATABASE_IAM
    ? {
        password: ({ host, port, user }) =>
          new Signer({ hostname: host, port, username: user }).getAuthToken(),
      }
    : {}),
});
