import { defineConfig } from "vitest/config";

/** Groups run one after the other: stories and browser want the machine to themselves, `alone` even more so. */
export default defineConfig({
  test: {
    reporters: ["default", "./test/closing-line.ts"],
    // One for each core: on two of them the default is one, and stories wait for most of their time.
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "test/suites/**/*.test.ts", "test/package/**/*.test.ts"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "stories",
          include: ["test/{stories,django,storage,frameworks,aws,bundles}/**/*.test.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: "stories-postgres",
          include: [
            "test/{stories,django,storage,postgres,bundles}/**/*.test.ts",
            "test/frameworks/lambda.test.ts",
            "test/aws/provisioning-identity.test.ts",
          ],
          // What they ask of a database the others ask as well; one waits for what is held up, for a minute.
          exclude: ["test/stories/{sending-held,spoofing,telemetry,troubleshooting}.test.ts"],
          env: { TEST_STORAGE: "postgres" },
          // One of them cuts every connection to the server that they share.
          fileParallelism: false,
          globalSetup: ["test/postgres/global-setup.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: "property",
          include: ["test/property/**/*.test.ts"],
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: "property-postgres",
          include: ["test/property/**/*.test.ts"],
          env: { TEST_STORAGE: "postgres", PROPERTY_STEPS: process.env.PROPERTY_STEPS ?? "5000" },
          globalSetup: ["test/postgres/global-setup.ts"],
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 4 },
        },
      },
      {
        test: {
          name: "alone",
          include: ["test/alone/**/*.test.ts"],
          fileParallelism: false,
          sequence: { groupOrder: 5 },
        },
      },
    ],
  },
});
