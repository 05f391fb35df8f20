import { ConfigurationError } from "../errors.ts";
import type { ApiKey } from "./events.ts";

/** The API keys that a stage accepts, as a usage plan of AWS defines them. */
export class ApiKeys {
  readonly #idByValue = new Map<string, string>();

  /**
   * @param keys the values of the keys by id
   * @throws ConfigurationError for an invalid value, or one that two keys have
   */
  constructor(where: string, keys: Readonly<Record<string, string>>) {
    for (const [id, value] of Object.entries(keys)) {
      // Outer spaces of a header are removed, so a value with spaces could not match.
      if (value === "" || value !== value.trim() || this.#idByValue.has(value)) {
        throw new ConfigurationError(
          `${where}: the API key "${id}" needs a unique value without outer spaces. Write: apiKeys: { id: "value" }.`,
        );
      }
      this.#idByValue.set(value, id);
    }
  }

  /** Returns the key with a value, or undefined if there is none. */
  find(value: string): ApiKey | undefined {
    const id = this.#idByValue.get(value);
    return id === undefined ? undefined : { apiKey: value, apiKeyId: id };
  }
}
