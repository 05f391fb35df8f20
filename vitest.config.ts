import { defineConfig } from "vitest/config";
import { LIMITS } from "./test/limits.ts";

/** The projects with the same `groupOrder` run together. The groups run one after the other. */
export default defineConfig({
  test: {
    reporters: ["default", "./test/closing-line.ts"],
    // The default is one worker on two cores. Integration tests mostly wait, so two workers are faster.
    maxWorkers: 2,
    ...LIMITS,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "test/package/**/*.test.ts"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: [
            "test/{alone,integration,django,storage,frameworks,aws,bundles,react,documentation}/**/*.test.ts",
          ],
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "integration-postgres",
          include: [
            "test/{integration,django,storage,postgres,bundles}/**/*.test.ts",
            "test/frameworks/lambda.test.ts",
            "test/aws/provisioning-identity.test.ts",
          ],
          // Other tests cover the same database operations. These tests are slow: some start a process for
          // each command, and one waits for a minute.
          exclude: [
            "test/integration/{cli,cli-limits,sending-held,spoofing,telemetry,troubleshooting}.test.ts",
            "test/integration/dev-*.test.ts",
          ],
          env: { TEST_STORAGE: "postgres" },
          globalSetup: ["test/postgres/global-setup.ts"],
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: "property",
          include: ["test/property/**/*.test.ts"],
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        test: {
          name: "property-postgres",
          include: ["test/property/**/*.test.ts"],
          env: { TEST_STORAGE: "postgres", PROPERTY_STEPS: process.env.PROPERTY_STEPS ?? "5000" },
          globalSetup: ["test/postgres/global-setup.ts"],
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts"],
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
