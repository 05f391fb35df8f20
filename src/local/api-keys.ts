import { ConfigurationError } from "../errors.ts";
import type { ApiKey } from "./events.ts";

/** The API keys that are good at a stage, as a usage plan of AWS's says. */
export class ApiKeys {
  readonly #idByValue = new Map<string, string>();

  /**
   * @param keys values by id
   * @throws ConfigurationError for a value that is none, or is another key's
   */
  constructor(where: string, keys: Readonly<Record<string, string>>) {
    for (const [id, value] of Object.entries(keys)) {
      // A header's value has no outer spaces by the time it is read.
      if (value === "" || value !== value.trim() || this.#idByValue.has(value)) {
        throw new ConfigurationError(
          `${where}: the API key "${id}" has no value of its own. Write: apiKeys: { id: "value" }.`,
        );
      }
      this.#idByValue.set(value, id);
    }
  }

  find(value: string): ApiKey | undefined {
    const id = this.#idByValue.get(value);
    return id === undefined ? undefined : { apiKey: value, apiKeyId: id };
  }
}
