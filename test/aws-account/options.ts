import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { CHECKS } from "./checks/all-checks.ts";
import { TAG } from "./names.ts";

export interface Options {
  readonly region: string;
  readonly runId: string;
  /** Whether the caller agreed to create resources. */
  readonly isConfirmed: boolean;
  readonly includesLong: boolean;
  /** Facts to check. Default: all. */
  readonly only: ReadonlySet<string> | undefined;
  /** Whether to remove the resources of earlier runs, and to create nothing. */
  readonly isRemoval: boolean;
  /** The run to remove. Default: all runs in the region. */
  readonly removalRun: string | undefined;
}

export const USAGE = `npm run test:aws -- --region REGION [options]

  --region REGION    the AWS region, such as eu-west-1 (required)
  --yes              create the resources. Without it, the run prints what it would create
  --long             also run the checks that take up to two hours
  --only FACT,FACT   run only the checks of these facts
  --remove           remove the resources of all earlier runs in the region, and create nothing
  --run ID           with --remove: only the resources of this run`;

/** An error of the caller, which is printed without a stack. */
export class UsageError extends Error {}

/** @throws UsageError for an invalid option */
export function parseOptions(args: readonly string[]): Options {
  const { region, yes, long, only, remove, run } = valuesOf(args);
  if (!region) {
    throw new UsageError(
      "--region is missing, and the run uses no default region. Add, for example, --region eu-west-1.",
    );
  }
  if (!/^(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d$/.test(region) || region.startsWith("us-gov")) {
    throw new UsageError(
      `--region ${region} is not a region of the partition "aws", in which this run works.`,
    );
  }
  if (run !== undefined && !remove) throw new UsageError("--run applies only with --remove. Add --remove.");
  if (run !== undefined && !/^[a-z0-9]{1,32}$/.test(run)) {
    throw new UsageError(`--run ${run} is not the id of a run. It is the part after ${TAG}- in the names.`);
  }
  return {
    region,
    runId: randomBytes(5).toString("hex"),
    isConfirmed: yes,
    includesLong: long,
    only: only === undefined ? undefined : factsOf(only),
    isRemoval: remove,
    removalRun: run,
  };
}

function valuesOf(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        region: { type: "string" },
        yes: { type: "boolean", default: false },
        long: { type: "boolean", default: false },
        only: { type: "string" },
        remove: { type: "boolean", default: false },
        run: { type: "string" },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${USAGE}`);
  }
}

function factsOf(text: string): ReadonlySet<string> {
  const facts = text.split(",").filter(Boolean);
  const unknown = facts.find((fact) => !CHECKS.some((check) => check.fact === fact));
  if (unknown === undefined) return new Set(facts);
  throw new UsageError(
    `--only: no check has the fact "${unknown}". Use some of: ${CHECKS.map(({ fact }) => fact).join(", ")}.`,
  );
}
