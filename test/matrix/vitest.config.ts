import { resolve } from "node:path";
import { defineConfig } from "vitest/config";
import { importLowestPeers } from "./lowest-peers.ts";

const root = resolve(import.meta.dirname, "../..");
/** The lock file installs Kysely 0.28. Apps on Node 22 and newer get 0.29. */
const kyselyNext = { alias: { kysely: "kysely-next" } };

/** What a peer's version can change. */
const PEER_TESTS = [
  "src/{storage,provisioning,delivery}/**/*.test.ts",
  "test/storage/**/*.test.ts",
  "test/stories/telemetry.test.ts",
  "test/aws/provisioning*.test.ts",
];

/**
 * Tests that `npm test` leaves out, because they install packages for several minutes: `npm run test:matrix`.
 *
 * They are vitest tests, so that each combination has a name and can be run alone: `npm run test:matrix -- -t "pnpm 12"`.
 */
export default defineConfig({
  root,
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: "matrix",
          include: ["test/matrix/**/*.test.ts"],
          // Package managers share caches, and the steps of one file share a server.
          fileParallelism: false,
          testTimeout: 900_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        resolve: kyselyNext,
        test: {
          name: "kysely-next",
          include: ["src/storage/**/*.test.ts", "test/storage/**/*.test.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 1 },
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
          sequence: { groupOrder: 2 },
        },
      },
      {
        plugins: [importLowestPeers()],
        test: {
          name: "lowest-peers",
          include: PEER_TESTS,
          globalSetup: ["test/matrix/lowest-peers.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 3 },
        },
      },
      {
        plugins: [importLowestPeers()],
        test: {
          name: "lowest-peers-postgres",
          include: ["test/{storage,postgres}/**/*.test.ts"],
          env: { TEST_STORAGE: "postgres" },
          fileParallelism: false,
          globalSetup: ["test/matrix/lowest-peers.ts", "test/postgres/global-setup.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
