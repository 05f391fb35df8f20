import { ConfigurationError } from "../errors.ts";

/**
 * Throws an error with the message `<where>: <problem>.` unless a condition is true.
 *
 * @throws ConfigurationError if the condition is false
 */
export function check(where: string, condition: boolean, problem: string): asserts condition {
  if (!condition) throw new ConfigurationError(`${where}: ${problem}.`);
}
