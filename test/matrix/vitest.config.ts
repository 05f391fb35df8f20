import { resolve } from "node:path";
import { defineConfig } from "vitest/config";
import { LIMITS } from "../limits.ts";
import { importLowestPeers } from "./lowest-peers.ts";
import { importOtherReact, OTHER_REACTS } from "./other-react.ts";

const root = resolve(import.meta.dirname, "../..");
/** The lock file installs Kysely 0.28. Apps on Node 22 and newer get 0.29. */
const kyselyNext = { alias: { kysely: "kysely-next" } };

/** What a peer's version can change. */
const PEER_TESTS = [
  "src/{storage,aws,delivery}/**/*.test.ts",
  "test/storage/**/*.test.ts",
  "test/integration/telemetry.test.ts",
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
    ...LIMITS,
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "matrix",
          include: ["test/matrix/**/*.test.ts"],
          // Package managers share caches, and the steps of one file share a server.
          fileParallelism: false,
          // Limits only end a step that hangs: package managers and clones take minutes on a busy machine.
          testTimeout: 1_800_000,
          hookTimeout: 900_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        resolve: kyselyNext,
        test: {
          name: "kysely-next",
          include: ["src/storage/**/*.test.ts", "test/storage/**/*.test.ts"],
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        resolve: kyselyNext,
        test: {
          name: "kysely-next-postgres",
          include: ["test/{storage,postgres}/**/*.test.ts"],
          env: { TEST_STORAGE: "postgres" },
          // One test cuts every connection to the shared server.
          fileParallelism: false,
          globalSetup: ["test/postgres/global-setup.ts"],
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        plugins: [importLowestPeers()],
        test: {
          name: "lowest-peers",
          include: PEER_TESTS,
          globalSetup: ["test/matrix/lowest-peers.ts"],
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        plugins: [importLowestPeers()],
        test: {
          name: "lowest-peers-postgres",
          include: ["test/{storage,postgres}/**/*.test.ts"],
          env: { TEST_STORAGE: "postgres" },
          fileParallelism: false,
          globalSetup: ["test/matrix/lowest-peers.ts", "test/postgres/global-setup.ts"],
          sequence: { groupOrder: 4 },
        },
      },
      ...OTHER_REACTS.map(({ name, version }) => ({
        extends: true as const,
        plugins: [importOtherReact(name)],
        test: {
          name,
          include: ["test/react/**/*.test.ts"],
          env: { REACT_VERSION: version },
          globalSetup: ["test/matrix/other-react.ts"],
          sequence: { groupOrder: 5 },
        },
      })),
    ],
  },
});
