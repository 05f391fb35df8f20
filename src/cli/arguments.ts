import { InvalidArgumentError } from "commander";

/** What commands are given, each with how it is explained wherever it occurs. */

export const USER = ["<user>", "as your app knows people, such as an e-mail address"] as const;
export const PERMISSION = ["<permission>", "such as chat.can_use_chat"] as const;
export const GROUP = ["<group>", "its name"] as const;

/** `--limit`: how many rows a list has at most. */
export function rowCount(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= 1000) return Number(text);
  throw new InvalidArgumentError("Give a whole number from 1 to 1000.");
}
