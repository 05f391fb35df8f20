import type { Column } from "./database.ts";
import type { UuidFormat } from "./layout.ts";

/** A value in the form that Sallyport stores, or the reason why it has none. */
export type Converted =
  | { readonly value: string; readonly renamed?: string }
  | { readonly value?: undefined; readonly reason: string };

/** Returns why a text cannot be stored as a name, as a predicate such as "is empty". */
export type NameCheck = (text: string | null, maxLength: number) => string | undefined;

const MAX_USER_ID = 255;
const MAX_GROUP = 150;
const MAX_CODENAME = 100;

/** Returns the user id of a row. */
export function userIdOf(
  text: string | null,
  column: Column,
  format: UuidFormat,
  check: NameCheck,
): Converted {
  const uuid = isUuid(column) && text !== null ? uuidOf(text, column, format) : text;
  if (uuid === undefined) return { reason: "the id is not a UUID, although its column contains UUIDs" };
  const reason = check(uuid, MAX_USER_ID);
  return reason === undefined && uuid !== null ? { value: uuid } : { reason: `the id ${reason}` };
}

/** Returns whether a column contains UUIDs. Django stores them as char(32) in SQLite. */
export function isUuid({ type }: Column): boolean {
  return type === "uuid" || type === "char(32)";
}

const HEX = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/;
const HYPHENS = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/;

/** Accepts only the form that the column type has. With several forms, two rows could become one id. */
function uuidOf(text: string, { type }: Column, format: UuidFormat): string | undefined {
  const parts = (type === "uuid" ? HYPHENS : HEX).exec(text)?.slice(1);
  return parts?.join(format === "hyphens" ? "-" : "");
}

/** Returns the name of a group: in the Unicode form NFC, without spaces around it. */
export function groupOf(text: string | null, check: NameCheck): Converted {
  const name = text?.normalize("NFC").trim() ?? null;
  const reason = check(name, MAX_GROUP);
  if (reason !== undefined || name === null) return { reason: `the name ${reason}` };
  if (name === text) return { value: name };
  const isComposed = text?.normalize("NFC") !== text;
  return {
    value: name,
    renamed: isComposed ? "names are stored in the Unicode form NFC" : "names have no spaces around them",
  };
}

/** Returns the name of a permission, `app_label.codename`. */
export function permissionOf(appLabel: string | null, codename: string | null, check: NameCheck): Converted {
  const app = check(appLabel, MAX_CODENAME);
  if (app !== undefined) return { reason: `the app label ${app}` };
  const code = check(codename, MAX_CODENAME);
  if (code !== undefined) return { reason: `the codename ${code}` };
  if (!/^[a-z][a-z0-9_]*$/.test(appLabel ?? "")) {
    return { reason: "the app label is not lowercase letters, digits and _, beginning with a letter" };
  }
  if (codename?.includes(".")) return { reason: "the codename contains a dot" };
  if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(codename ?? "")) {
    return { reason: "the codename is not letters, digits and _, beginning with a letter" };
  }
  return { value: `${appLabel}.${codename}` };
}
