import { InvalidArgumentError } from "commander";

/** Arguments that several commands have, with their descriptions. */

export const USER = ["<user>", "the user as your app names users, such as an e-mail address"] as const;
export const PERMISSION = ["<permission>", "the permission, such as chat.can_use_chat"] as const;
export const GROUP = ["<group>", "the name of the group"] as const;

/** Parses `--limit`, the maximum number of rows of a list. */
export function rowCount(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= 1000) return Number(text);
  throw new InvalidArgumentError("Give a whole number from 1 to 1000.");
}
