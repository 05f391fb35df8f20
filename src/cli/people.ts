import { ConfigurationError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { Sallyport } from "../sallyport.ts";

/**
 * The app's id for what somebody typed: through the app's `users.find`, or as it is where the app has none.
 *
 * @throws ConfigurationError that names the nearest known user
 */
export async function findUser(sallyport: Sallyport, text: string): Promise<string> {
  const { find, suggest } = sallyport.users;
  if (!find) return text;
  const id = await find(text);
  if (id !== undefined) return id;
  throw new ConfigurationError(
    `There is no user "${text}".${nearest(text, (await suggest?.()) ?? [])}`,
    "SALLYPORT_UNKNOWN_NAME",
  );
}

/** `alice@example.com (u_17)`, or the id alone where the app has no label for it. */
export async function describeUser(sallyport: Sallyport, id: string): Promise<string> {
  const label = (await sallyport.users.describe?.([id]))?.[id];
  return label && label !== id ? `${label} (${id})` : id;
}
