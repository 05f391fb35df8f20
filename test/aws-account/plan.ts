import { CHECKS } from "./checks/all-checks.ts";
import { nameOf } from "./names.ts";
import type { Options } from "./options.ts";

/** The checks of a run. */
export function selectedChecks({ only, includesLong }: Options) {
  return CHECKS.filter(({ fact, isLong }) => (only?.has(fact) ?? true) && (includesLong || !isLong));
}

/** Returns what a run would do, line by line. */
export function describeRun(options: Options, account: string, arn: string): readonly string[] {
  const name = nameOf(options.runId);
  return [
    `account  ${account}`,
    `caller   ${arn}`,
    `region   ${options.region}`,
    `checks   ${selectedChecks(options).length}`,
    `time     ${options.includesLong ? "up to 2 hours and 30 minutes" : "about 5 minutes"}`,
    "",
    `The run creates these resources, and removes them at its end:`,
    `  IAM role ${name}, which can call the Management API of stages with the name ${name}`,
    `  Lambda function ${name} (512 MB, reserved concurrency 1), with a public URL`,
    `  WebSocket API ${name} with a stage, and two more stages during two checks`,
    `  WebSocket API ${name}-http with a stage`,
    "",
    "Estimated cost: below 0.01 USD. A run has fewer than 500 messages of at most 128 KB, and",
    "fewer than 500 invocations. A message costs 1.00 USD per million in us-east-1, according to",
    "awsforengineers.com of 19 May 2025. AWS counts each 32 KB as one message. There is no dated",
    "source for the prices of connection minutes, invocations and data transfer.",
    "Check https://aws.amazon.com/api-gateway/pricing/ and https://aws.amazon.com/lambda/pricing/.",
  ];
}
