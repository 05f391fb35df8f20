import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { Sallyport } from "../sallyport.ts";
import { quoted } from "./terminal.ts";

/**
 * Resolves a typed user name to a user id with the `users.find` of the app. Without that option,
 * the text is the id.
 *
 * An id with stored data is accepted too, because the app can have removed the account already.
 *
 * @throws ConfigurationError that suggests the closest match
 */
export async function findUser(sallyport: Sallyport, text: string): Promise<string> {
  const { find, suggest } = sallyport.users;
  if (!find && text !== "") return text;
  const id: unknown = await find?.(text);
  if (typeof id === "string" && id !== "") return id;
  if (await sallyport.access.users.get(text)) return text;
  throw new ConfigurationError(
    `There is no user ${quoted(text)}.${closestMatch(text, (await suggest?.()) ?? []) || " Check the spelling."}`,
    { code: "SALLYPORT_UNKNOWN_NAME" },
  );
}

/** The maximum number of stored users that a name is compared with. */
const MAX_COMPARED = 1000;

/**
 * Returns a line that reports that nothing is stored for a user, with the closest match. Such a name
 * can be a typing error. Returns no line if something is stored, or if the app finds users itself.
 *
 * @param text the report, without the closest match
 */
export async function unknownUserLines(
  { users, access }: Sallyport,
  user: string,
  text = `Sallyport has stored no data of a user ${quoted(user)}.`,
): Promise<readonly string[]> {
  if (users.find || (await access.users.get(user))) return [];
  const others = await access.users.list({ limit: MAX_COMPARED });
  const suggestion = closestMatch(
    user,
    others.map(({ id }) => id),
  );
  return [`${text}${suggestion}`];
}

/** The labels that the app gives to its users. */
export interface Names {
  /** Returns the label of a user, such as an e-mail address, or null if there is none. */
  label(id: string | null): string | null;
  /**
   * Returns `alice@example.com (u_17)`, the id of a user without a label, or `no user` for null.
   */
  name(id: string | null): string;
}

/** The maximum number of ids in one call of `users.describe`. */
const IDS_PER_CALL = 500;

/** Reads the labels of users from the app. */
export async function namesOf(sallyport: Sallyport, ids: Iterable<string | null>): Promise<Names> {
  const unique = [...new Set(ids)].filter((id) => id !== null);
  const labels = new Map<string, string>();
  for (let from = 0; from < unique.length; from += IDS_PER_CALL) {
    const described = await sallyport.users.describe?.(unique.slice(from, from + IDS_PER_CALL));
    for (const [id, label] of Object.entries(described ?? {})) labels.set(id, String(label));
  }
  return {
    label: (id) => (id === null ? null : (labels.get(id) ?? null)),
    name: (id) => {
      if (id === null) return "no user";
      const label = labels.get(id);
      return label && label !== id ? `${label} (${id})` : id;
    },
  };
}

/** Returns `alice@example.com (u_17)`, or only the id of a user without a label. */
export async function describeUser(sallyport: Sallyport, id: string): Promise<string> {
  return (await namesOf(sallyport, [id])).name(id);
}

/** Returns the state of a user, such as `active, superuser`. */
export function stateOf(user: { readonly isActive: boolean; readonly isSuperuser: boolean }): string {
  return [user.isActive ? "active" : "inactive", ...(user.isSuperuser ? ["superuser"] : [])].join(", ");
}
