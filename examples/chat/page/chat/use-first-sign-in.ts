import { useEffect } from "react";
import type { Pane } from "../../src/panes.ts";
import type { Me } from "../../src/people-routes.ts";
import { useSignIn } from "../api/people.ts";

/**
 * Signs a person in when the page is opened for the first time, so that there is something to see.
 *
 * @param me the signed-in person, null for no user, or undefined if that is not known yet
 * @returns whether it is signing in
 */
export function useFirstSignIn(pane: Pane, email: string, me: Me | null | undefined): boolean {
  const { mutate, isPending, isIdle } = useSignIn(pane);
  const key = `sallyport-demo-${pane}`;
  const isFirst = me === null && isIdle && localStorage.getItem(key) === null;
  useEffect(() => {
    if (!isFirst) return;
    localStorage.setItem(key, "opened");
    mutate(email);
  }, [isFirst, key, email, mutate]);
  return isFirst || isPending;
}
