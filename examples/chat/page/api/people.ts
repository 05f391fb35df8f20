import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { DEMO_PASSWORD, type PageConfig } from "../../src/page-contract.ts";
import type { Pane } from "../../src/panes.ts";
import type { Me } from "../../src/people-routes.ts";
import { request } from "./http.ts";

/** Returns the person of a pane, or null if no user is signed in. */
export function useMe(pane: Pane) {
  return useQuery({ queryKey: ["me", pane], queryFn: () => request<Me | null>(`/api/me?pane=${pane}`) });
}

export function useConfig() {
  return useQuery({
    queryKey: ["config"],
    queryFn: () => request<PageConfig>("/api/config"),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** Signs in to a pane, as another person than before. */
export function useSignIn(pane: Pane) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (email: string) =>
      request(`/api/auth/${pane}/sign-in/email?pane=${pane}`, { email, password: DEMO_PASSWORD }),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ["me", pane] }),
  });
}

export function useSignOut(pane: Pane) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: () => request(`/api/auth/${pane}/sign-out`, {}),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ["me", pane] }),
  });
}
