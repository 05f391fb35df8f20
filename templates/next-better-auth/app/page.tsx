import { headers } from "next/headers";
import { Account } from "../page/account.tsx";
import { SignIn } from "../page/sign-in.tsx";
import { auth } from "../src/auth.ts";

export default async function Page() {
  const session = await auth.api.getSession({ headers: await headers() });
  if (!session) return <SignIn />;
  return <Account url={process.env.SALLYPORT_URL ?? null} user={session.user.email} />;
}
