import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import type { ChatMessage } from "../../src/messages.ts";
import { mergeHistory } from "./merge-history.ts";
import { useMessages, useSocket } from "./socket.ts";

interface InFlight {
  readonly arrived: ChatMessage[];
  readonly deleted: Set<number>;
}

/**
 * Returns the messages of a room, oldest first. They stay on the page when access ends, and are read
 * again when it returns.
 *
 * @param key identifies the person and the room
 */
export function useHistory(room: string, key: readonly string[]) {
  const { state, socket, call } = useSocket();
  const queryClient = useQueryClient();
  const isInside = state === "open" && socket?.channel === `rooms/${room}`;
  const queryKey = ["history", ...key];
  const requests = useRef(new Set<InFlight>());
  const history = useQuery({
    queryKey,
    queryFn: async () => {
      // The server reads the history before some of the pushes that arrive before its answer.
      const changes: InFlight = { arrived: [], deleted: new Set() };
      requests.current.add(changes);
      try {
        return mergeHistory((await call.fetch_history({})).messages, changes);
      } finally {
        requests.current.delete(changes);
      }
    },
    enabled: isInside,
    refetchOnWindowFocus: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const { refetch } = history;
  useEffect(() => {
    if (isInside) void refetch();
  }, [isInside, refetch]);

  const update = (change: (messages: readonly ChatMessage[]) => readonly ChatMessage[]) =>
    queryClient.setQueryData<readonly ChatMessage[]>(queryKey, (before) => change(before ?? []));
  useMessages("chat_message", (message) => {
    if (message.room !== room) return;
    for (const { arrived } of requests.current) arrived.push(message);
    update((before) => mergeHistory(before, { arrived: [message], deleted: new Set() }));
  });
  useMessages("message_deleted", ({ id }) => {
    for (const { deleted } of requests.current) deleted.add(id);
    update((before) => mergeHistory(before, { arrived: [], deleted: new Set([id]) }));
  });
  return { messages: history.data ?? [], isLoading: isInside && history.isPending, error: history.error };
}
