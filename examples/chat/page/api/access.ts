import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import type { AccessState } from "../../src/access/access-state.ts";
import type { Consequence } from "../../src/access/consequences.ts";
import type { Switch } from "../../src/access/switch.ts";
import { request } from "./http.ts";

export type { AccessState, Consequence, Switch };

const ACCESS = ["access"];

/** Returns what every person and group may do. The live panel refreshes it after each change. */
export function useAccess() {
  return useQuery({ queryKey: ACCESS, queryFn: () => request<AccessState>("/api/access") });
}

/** Turns a switch. */
export function useTurn() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: (given: Switch) => request<AccessState>("/api/access/switch", given),
    onSuccess: (state) => queryClient.setQueryData(ACCESS, state),
  });
}

/** Returns who would lose what by turning a switch. */
export function usePreview(given: Switch, { isEnabled }: { readonly isEnabled: boolean }) {
  return useQuery({
    queryKey: ["preview", given],
    queryFn: () => request<readonly Consequence[]>("/api/access/preview", given),
    enabled: isEnabled,
    gcTime: 0,
  });
}

/** Gives everyone the access of the start, and writes the first messages again. */
export function useReset() {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: () => request<AccessState>("/api/access/reset", {}),
    onSuccess: () => queryClient.invalidateQueries(),
  });
}
