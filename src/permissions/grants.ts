import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { instantOption, optionsOf, parseOptions } from "../options.ts";
import type { PermissionHolder } from "../storage/stores/users.ts";

/** What the audit log stores about a change of permissions. */
export interface ChangeOptions {
  /** Who makes the change, such as a user id: at most 255 characters. Default: not stored. */
  readonly by?: string | undefined;
  /** Why the change is made: at most 1 000 characters. Default: not stored. */
  readonly reason?: string | undefined;
}

/** The options of a grant or a membership. */
export interface GrantOptions extends ChangeOptions {
  /**
   * When the grant expires: a time in the future, as a Date or in epoch milliseconds. Default:
   * never.
   */
  readonly until?: number | Date | undefined;
}

/**
 * Validates a holder, and normalizes the name of a group to its stored form.
 *
 * @throws ConfigurationError if the value is not a holder
 */
export function holderOf(holder: unknown): PermissionHolder {
  if (typeof holder !== "object" || holder === null) {
    checkUserId(holder);
    return holder;
  }
  if (Object.keys(holder).join() === "group") {
    return { group: groupNameOf((holder as { group: unknown }).group) };
  }
  throw new ConfigurationError(
    `A holder is a user id or { group }, but received ${formatValue(holder)}. Pass one of the two.`,
  );
}

/**
 * Validates a user id.
 *
 * @throws ConfigurationError if the value cannot be a user id
 */
export function checkUserId(userId: unknown): asserts userId is string {
  if (isName(userId, 255)) return;
  throw new ConfigurationError(
    `A user id must be a string of 1 to 255 characters that is not blank and has no control characters, but received ${formatValue(userId)}.`,
  );
}

/**
 * Returns the stored form of the name of a group: normalized to NFC.
 *
 * Programs and file systems write the same letter in several forms. Without normalization, two
 * groups could have the same visible name.
 *
 * @throws ConfigurationError if the value cannot be the name of a group
 */
export function groupNameOf(name: unknown): string {
  const composed = typeof name === "string" ? name.normalize("NFC") : name;
  if (isName(composed, 150) && composed.trim() === composed) return composed;
  throw new ConfigurationError(
    "The name of a group must be a string of 1 to 150 characters that is not blank, has no control characters and no spaces around it, " +
      `but received ${formatValue(name)}.`,
  );
}

/**
 * Validates a session id.
 *
 * @throws ConfigurationError if the value cannot be a session id. The message does not repeat it
 */
export function checkSessionId(sessionId: unknown): asserts sessionId is string {
  if (isName(sessionId, 255)) return;
  throw new ConfigurationError(
    "session must be a session id as authenticate() returns it: a string of 1 to 255 characters without control characters.",
  );
}

/**
 * Returns whether a value is a valid name or id. Both databases store it unchanged.
 *
 * It is a text that is not blank and has no control characters. Control characters would make two
 * ids look the same.
 */
export function isName(text: unknown, maxLength: number): text is string {
  return isStorableText(text, maxLength) && VISIBLE.test(text) && !/\p{Cc}/u.test(text);
}

/** A visible character. U+2800 is a Braille pattern without dots. */
const VISIBLE = /[^\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/u;

/**
 * Returns whether a value is a text that both databases store unchanged.
 *
 * PostgreSQL rejects NUL. SQLite returns an unpaired surrogate as another character.
 */
function isStorableText(text: unknown, maxLength: number): text is string {
  if (typeof text !== "string" || text === "" || text.length > maxLength) return false;
  return !/\0|\p{Surrogate}/u.test(text);
}

/** The schemas of the options that all changes have. */
export const CHANGE_SCHEMAS = {
  by: v.optional(
    v.custom<string>(
      (value) => value === "" || isName(value, 255),
      "must be the user who makes the change: a string of at most 255 characters without control characters",
    ),
  ),
  reason: v.optional(
    v.custom<string>(
      (value) => value === "" || isStorableText(value, 1000),
      "must be why the change is made: a string of at most 1000 characters",
    ),
  ),
};
const CHANGE_OPTIONS = optionsOf<ChangeOptions>()(CHANGE_SCHEMAS, {
  until: "Only access.grant() and access.users.addToGroup() have until.",
});
const GRANT_OPTIONS = optionsOf<GrantOptions>()({
  ...CHANGE_SCHEMAS,
  // `undefined` is rejected, because the grant would never expire.
  until: v.exactOptional(instantOption),
});

/**
 * Validates the options of a change.
 *
 * @throws ConfigurationError for an unknown option, or a value that cannot be stored
 */
export function checkChangeOptions(options: ChangeOptions): void {
  parseOptions("options of a change", CHANGE_OPTIONS, options);
}

/**
 * Validates the options of a grant.
 *
 * @throws ConfigurationError for an unknown option, or a value that cannot be stored
 */
export function checkGrantOptions(options: GrantOptions): void {
  parseOptions("options of a grant", GRANT_OPTIONS, options);
}
