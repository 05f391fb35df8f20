import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import type { ChatMessage } from "../../src/messages.ts";
import { useMessages, useSocket } from "./socket.ts";

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
  const history = useQuery({
    queryKey,
    queryFn: async () => (await call.fetch_history({})).messages,
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
    if (message.room === room) update((before) => [...before.filter(({ id }) => id !== message.id), message]);
  });
  useMessages("message_deleted", ({ id }) =>
    update((before) => before.filter((message) => message.id !== id)),
  );
  return { messages: history.data ?? [], isLoading: isInside && history.isPending, error: history.error };
}
