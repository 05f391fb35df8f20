import { ConfigurationError } from "../errors.ts";

/** What a definition says must be so. @throws ConfigurationError: `<where>: <what>.` */
export function check(where: string, holds: boolean, what: string): asserts holds {
  if (!holds) throw new ConfigurationError(`${where}: ${what}.`);
}

/** Text of a form. */
export function isText(value: unknown, form: RegExp): value is string {
  return typeof value === "string" && form.test(value);
}

/** What has entries of its own: a Map or a list would pass for an object without any. */
export function isRecord(value: unknown): boolean {
  return typeof value === "object" && value !== null && !(Symbol.iterator in value);
}
