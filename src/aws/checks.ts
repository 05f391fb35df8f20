import { ConfigurationError } from "../errors.ts";

/** Throws a ConfigurationError `<where>: <what>.` unless the condition holds. */
export function check(where: string, holds: boolean, what: string): asserts holds {
  if (!holds) throw new ConfigurationError(`${where}: ${what}.`);
}
