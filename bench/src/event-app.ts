import type { SallyportOptions } from "sallyport";

/**
 * Limits that are counted and never reached. Tokens are not bound to a session of the app, so that
 * its authentication is not measured.
 */
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
