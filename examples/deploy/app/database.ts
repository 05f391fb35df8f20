import { Signer } from "@aws-sdk/rds-signer";
import { type PostgresOptions, postgres } from "sallyport/storage/postgres";

/** On Lambda, each instance of the function needs few connections, and RDS Proxy shares them. */
const LAMBDA_OPTIONS: PostgresOptions = { poolSize: 2, listen: false };

const isLambda = process.env.AWS_LAMBDA_FUNCTION_NAME !== undefined;

/**
 * The database at `DATABASE_URL`. Its password is in the URL, in `DATABASE_PASSWORD`, or is a token
 * of IAM if `DATABASE_IAM` is set.
 */
export const storage = postgres(process.env.DATABASE_URL, {
  ...(isLambda ? LAMBDA_OPTIONS : {}),
  ...passwordOption(),
});

function passwordOption(): PostgresOptions {
  const { DATABASE_PASSWORD: password, DATABASE_IAM: usesIam } = process.env;
  if (usesIam) {
    return {
      password: ({ host, port, user }) => new Signer({ hostname: host, port, username: user }).getAuthToken(),
    };
  }
  return password ? { password: () => password } : {};
}
