import type { SallyportOptions } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import type { Database } from "sallyport/storage/sqlite";
import { sqlite } from "sallyport/storage/sqlite";

/** Limits that are counted and never reached; a token alone says who connects, so that no login of an app is measured. */
export const EVENT_OPTIONS: Partial<SallyportOptions> = {
  token: { binding: "token" },
  limits: {
    connectsPerUser: 1e9,
    connectionsPerUser: false,
    connectsPerIp: 1e9,
    failedConnectsPerIp: 1e9,
    messagesPerConnection: false,
    messagesPerUser: false,
  },
};

export function storageOf(source: string): Database {
  return source.startsWith("postgres:") ? postgres(source) : sqlite(source);
}
