import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue, isPlainObject } from "../format-value.ts";
import { optionsOf, parseOptions } from "../options.ts";
import { isName } from "../permissions/grants.ts";
import type { AuthenticatedUser, AuthServices } from "../services.ts";
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
        // The message must not repeat the value, because it may be sufficient to use the session.
        "must be a string of 1 to 255 characters without control characters. Leave it out if your sessions have no id.",
      ),
    ),
  },
  { id: "Return { userId } or { sessionId }." },
);

/** The user and the session that a request belongs to. */
export interface AuthenticatedSession {
  readonly userId: string;
  /**
   * Hash of the session id, or null if sessions have no id. The id itself is not used elsewhere.
   */
  readonly sessionId: string | null;
}

/**
 * Calls `authenticate` and returns the user and the session of a request, or null.
 *
 * @throws ConfigurationError if `authenticate` returned an invalid value. Unknown properties are
 *   rejected, because `endSession()` could not find a session with a misspelled `sessionId`
 */
export async function authenticatedUser(
  services: AuthServices,
  request: Request,
): Promise<AuthenticatedSession | null> {
  const user: unknown = await services.authenticate(request);
  if (user === null || user === undefined) return null;
  if (!isPlainObject(user)) {
    throw new ConfigurationError(
      `authenticate() must return { userId, sessionId } or null, but returned ${formatValue(user)}. ` +
        "Change authenticate() in the options of createSallyport().",
    );
  }
  const { userId, sessionId } = parseOptions("the result of authenticate()", AUTHENTICATED_USER, user);
  return { userId, sessionId: sessionId === undefined ? null : hashSessionId(sessionId) };
}
