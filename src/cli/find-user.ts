import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import type { Sallyport } from "../sallyport.ts";
import { quoted } from "./terminal.ts";

/**
 * The app's id for what somebody typed: through the app's `users.find`, or as it is where the app has none. An id that
 * has rights here is taken too, since the app may have removed the account already.
 *
 * @throws ConfigurationError that names the nearest known user
 */
export async function findUser(sallyport: Sallyport, text: string): Promise<string> {
  const { find, suggest } = sallyport.users;
  if (!find && text !== "") return text;
  const id: unknown = await find?.(text);
  if (typeof id === "string" && id !== "") return id;
  if (await sallyport.access.show(text)) return text;
  throw new ConfigurationError(
    `There is no user ${quoted(text)}.${closestMatch(text, (await suggest?.()) ?? [])}`,
    { code: "SALLYPORT_UNKNOWN_NAME" },
  );
}

/** What the app calls its users. */
export interface Names {
  /** The app's own label, such as an e-mail address; null where it has none. */
  label(id: string | null): string | null;
  /** `alice@example.com (u_17)`, the id alone without a label, `nobody` for null. */
  name(id: string | null): string;
}

/** Ids that the app is asked about at once. */
const IDS_PER_QUESTION = 500;

/** Asks the app what it calls these users, all at once. */
export async function namesOf(sallyport: Sallyport, ids: Iterable<string | null>): Promise<Names> {
  const wanted = [...new Set(ids)].filter((id) => id !== null);
  const labels = new Map<string, string>();
  for (let from = 0; from < wanted.length; from += IDS_PER_QUESTION) {
    const described = await sallyport.users.describe?.(wanted.slice(from, from + IDS_PER_QUESTION));
    for (const [id, label] of Object.entries(described ?? {})) labels.set(id, String(label));
  }
  return {
    label: (id) => (id === null ? null : (labels.get(id) ?? null)),
    name: (id) => {
      if (id === null) return "nobody";
      const label = labels.get(id);
      return label && label !== id ? `${label} (${id})` : id;
    },
  };
}

/** `alice@example.com (u_17)`, or the id alone where the app has no label for it. */
export async function describeUser(sallyport: Sallyport, id: string): Promise<string> {
  return (await namesOf(sallyport, [id])).name(id);
}
