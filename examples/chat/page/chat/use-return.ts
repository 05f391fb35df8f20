import { useEffect, useRef } from "react";
import type { RoomState } from "../../src/people-routes.ts";
import { useSocket } from "./socket.ts";

/**
 * Connects again as soon as a room is unlocked. The client does this by itself after at most 30 seconds.
 * The page receives each change of permissions, so it connects again without this wait.
 */
export function useReturn({ isLocked }: RoomState): void {
  const { denial, reconnect } = useSocket();
  const isDenied = denial?.scope === "view";
  const wasLocked = useRef(false);
  useEffect(() => {
    const isUnlocked = wasLocked.current && !isLocked;
    wasLocked.current = isDenied && isLocked;
    if (isDenied && isUnlocked) reconnect();
  }, [isDenied, isLocked, reconnect]);
}
