import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue, isPlainObject } from "../format-value.ts";
import { optionsOf, parseOptions } from "../options.ts";
import { isName } from "../permissions/grants.ts";
import type { AuthenticatedUser, Services } from "../services.ts";
import { hashSessionId } from "./ended-sessions.ts";

const AUTHENTICATED_USER = optionsOf<AuthenticatedUser>()(
  {
    userId: v.custom<string>(
      (value) => isName(value, 255),
      "must be a string of 1 to 255 characters that is not blank and has no control characters",
    ),
    sessionId: v.exactOptional(
      v.custom<string>(
        (value) => isName(value, 255),
        // Its value is not repeated: whoever has it may be able to use the session.
        "must be a string of 1 to 255 characters without control characters. Leave it out if your sessions have no id.",
      ),
    ),
  },
  { id: "Return { userId } or { sessionId }." },
);

/** The user and the session that a request belongs to. */
export interface AuthenticatedSession {
  readonly userId: string;
  /** Hash of the session id, or null if the app's sessions have none. The id itself goes no further than this file. */
  readonly sessionId: string | null;
}

/**
 * Returns the user of a request, as the app's `authenticate` has it, or null.
 *
 * @throws ConfigurationError if `authenticate` returned something else. A misspelled `sessionId` would not be found by `endSession()`
 */
export async function authenticatedUser(
  services: Services,
  request: Request,
): Promise<AuthenticatedSession | null> {
  const user: unknown = await services.authenticate(request);
  if (user === null || user === undefined) return null;
  if (!isPlainObject(user)) {
    throw new ConfigurationError(
      `authenticate() must return { userId, sessionId } or null, but returned ${formatValue(user)}.`,
    );
  }
  const { userId, sessionId } = parseOptions("the result of authenticate()", AUTHENTICATED_USER, user);
  return { userId, sessionId: sessionId === undefined ? null : hashSessionId(sessionId) };
}
