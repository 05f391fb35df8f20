import { defineConfig } from "vitest/config";

/** The tests that guard the gate, for `npm run mutate`: those that run in one process, without timings or browsers. */
export default defineConfig({
  test: {
    include: [
      "src/access/**/*.test.ts",
      "src/view/**/*.test.ts",
      "test/stories/{permissions,spoofing,robustness,gateways,endings,audience,reasons,guarantee,eviction}.test.ts",
      "test/django/{permissions,package-statements}.test.ts",
    ],
    testTimeout: 15_000,
    hookTimeout: 15_000,
  },
});
