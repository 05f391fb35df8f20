import { resolve } from "node:path";
import { defineConfig } from "vitest/config";

const root = resolve(import.meta.dirname, "../..");
/** The lock file installs Kysely 0.28. Apps on Node 22 and newer get 0.29. */
const kyselyNext = { alias: { kysely: "kysely-next" } };

/** Tests that `npm test` leaves out, because they install packages for several minutes: `npm run test:matrix`. */
export default defineConfig({
  root,
  test: {
    maxWorkers: 2,
    projects: [
      {
        resolve: kyselyNext,
        test: {
          name: "kysely-next",
          include: ["src/storage/**/*.test.ts", "test/storage/**/*.test.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        resolve: kyselyNext,
        test: {
          name: "kysely-next-postgres",
          include: ["test/{storage,postgres}/**/*.test.ts"],
          env: { TEST_STORAGE: "postgres" },
          // One test cuts every connection to the shared server.
          fileParallelism: false,
          globalSetup: ["test/postgres/global-setup.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
