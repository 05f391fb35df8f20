import { spawnSync } from "node:child_process";

/** Whether the Python package cfn-lint is installed. npm cannot install it. */
export const hasCfnLint = spawnSync("cfn-lint", ["--version"]).status === 0;

/**
 * Warnings that are not about our resources: dependencies that a reference implies, which aws-cdk-lib
 * writes for each function, and versions of databases, which change with the time.
 */
const IGNORED = ["W3005", "W3691"];

/** Returns the findings of cfn-lint, one on each line. */
export function lintTemplate(file: string): string {
  const options = ["--format", "parseable", "--ignore-checks", ...IGNORED, "--", file];
  const { stdout, stderr } = spawnSync("cfn-lint", options, { encoding: "utf8" });
  return `${stdout}${stderr}`.trim();
}
