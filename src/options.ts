import { ConfigurationError } from "./errors.ts";
import { nearest } from "./nearest.ts";

/**
 * A misspelt option must not pass for none.
 *
 * @throws ConfigurationError that names the nearest option
 */
export function refuseUnknown(owner: string, options: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(options)) {
    if (!known.has(name)) {
      throw new ConfigurationError(`${owner} has no option "${name}".${nearest(name, known)}`);
    }
  }
}
