"use client";

import { useRouter } from "next/navigation";
import { authClient } from "./auth-client.ts";
import { Chat } from "./chat.tsx";

export function Account({ url, user }: { readonly url: string | null; readonly user: string }) {
  const router = useRouter();
  const signOut = () => authClient.signOut().then(() => router.refresh());
  return <Chat url={url} user={user} signOut={signOut} />;
}
