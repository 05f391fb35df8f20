import { defineConfig } from "vitest/config";

/** The tests for `npm run mutate`. They run in one process, without browsers or elapsed time. */
export default defineConfig({
  test: {
    include: [
      "src/{auth,permissions,views,audit,revocation,sending,events}/**/*.test.ts",
      "src/delivery/**/*.test.ts",
      "src/adapters/**/*.test.ts",
      "src/aws/*.test.ts",
      "src/testing/**/*.test.ts",
      "src/protocol/**/*.test.ts",
      "src/client/**/*.test.ts",
      "src/{config,format-value,reported-promise,error-reporter,error-output}.test.ts",
      "test/integration/{permissions,fail-closed,spoofing,robustness,gateways,access-endings,audience,reasons,guarantee,sending,statements,revocation,holes,edges,authorization,declared-rules}.test.ts",
      "test/integration/{limits,limit-windows,connections-per-user,ended-sessions,unawaited-sends,error-reports,joins,orphaned-connections,unrelated-changes,token-scope}.test.ts",
      "test/storage/{limits,gateways,decisions,ended-sessions,user-connections,change-numbers}.test.ts",
      "test/django/{permissions,package-statements}.test.ts",
      "test/property/no-leak.test.ts",
    ],
    env: { PROPERTY_STEPS: "3000", PROPERTY_SEED: "7", PROPERTY_SHORTENING_MS: "0" },
    // Some mutants prevent an event that a test waits for. The short timeouts end such a test early.
    expect: { poll: { timeout: 5000, interval: 20 } },
    testTimeout: 15_000,
    hookTimeout: 15_000,
  },
});
