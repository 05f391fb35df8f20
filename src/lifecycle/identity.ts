import { isName } from "../access/grants.ts";
import { ConfigurationError } from "../errors.ts";
import type { Identity, Rooms } from "./rooms.ts";

/** The app's word about who is behind a request. @throws ConfigurationError when it is not of the agreed shape */
export async function identityOf(rooms: Rooms, request: Request): Promise<Identity | null> {
  const identity = await rooms.identify(request);
  if (identity === null || identity === undefined) return null;
  const { userId, sessionId } = identity;
  if (!isName(userId, 255)) {
    throw new ConfigurationError(
      "identify() must give null or { userId, sessionId }; userId is 1 to 255 characters, none of them NUL.",
    );
  }
  if (sessionId !== undefined && !isName(sessionId, 255)) {
    throw new ConfigurationError(
      "identify(): sessionId is 1 to 255 characters that name the login, or left out.",
    );
  }
  return identity;
}
