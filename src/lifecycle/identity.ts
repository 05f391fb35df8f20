import { isName } from "../access/grants.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import type { AuthenticatedUser, Rooms } from "./rooms.ts";

/**
 * Returns the user of a request, as the app's `authenticate` has it, or null.
 *
 * @throws ConfigurationError if `authenticate` returned something else
 */
export async function authenticatedUser(rooms: Rooms, request: Request): Promise<AuthenticatedUser | null> {
  const user: unknown = await rooms.authenticate(request);
  if (user === null || user === undefined) return null;
  const { userId, sessionId } = user as Partial<AuthenticatedUser>;
  if (!isName(userId, 255)) {
    throw new ConfigurationError(
      `authenticate() must return null or { userId, sessionId }, where userId is a text of 1 to 255 characters that is not blank and ` +
        `has no control characters, but userId is ${formatValue(userId)}.`,
    );
  }
  if (sessionId !== undefined && !isName(sessionId, 255)) {
    // Its value is not repeated: whoever knows it may be able to use the session.
    throw new ConfigurationError(
      "authenticate() returned a sessionId that is not a text of 1 to 255 characters without control characters. Leave sessionId out if your sessions have no id.",
    );
  }
  return { userId, sessionId };
}
