import { skipToken, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { PANES, type Pane } from "../../src/panes.ts";

/** The connection of a pane, as the panel Access shows it. */
export interface PaneConnection {
  readonly userId: string;
  readonly isOpen: boolean;
  /** The reference of the decision that ended the access of the connection, or null. */
  readonly endedBy: string | null;
}

const keyOf = (pane: Pane) => ["connection", pane];

/** Publishes the state of the connection of a pane until the component is removed. */
export function usePublishConnection(pane: Pane, { userId, isOpen, endedBy }: PaneConnection): void {
  const queryClient = useQueryClient();
  useEffect(() => {
    const connection: PaneConnection = { userId, isOpen, endedBy };
    queryClient.setQueryData(keyOf(pane), connection);
  }, [queryClient, pane, userId, isOpen, endedBy]);
  useEffect(
    () => () => {
      queryClient.setQueryData(keyOf(pane), null);
    },
    [queryClient, pane],
  );
}

/** Returns the connection of a person on this page. An open one precedes one that has ended. */
export function useConnectionOf(userId: string): PaneConnection | undefined {
  const [left, right] = [usePaneConnection(PANES[0]), usePaneConnection(PANES[1])];
  const own = [left, right].filter((connection) => connection?.userId === userId);
  return own.find((connection) => connection?.isOpen) ?? own[0] ?? undefined;
}

function usePaneConnection(pane: Pane) {
  return useQuery<PaneConnection | null>({
    queryKey: keyOf(pane),
    queryFn: skipToken,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: Number.POSITIVE_INFINITY,
  }).data;
}
