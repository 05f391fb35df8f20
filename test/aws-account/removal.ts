import { type Account, type Resource, removalCommands } from "./account.ts";
import { pause } from "./timing.ts";

/** Attempts for each resource. AWS can reject a removal shortly after a creation. */
const ATTEMPTS = 3;
const PAUSE_MS = 2000;
const KINDS = { api: "API", function: "function", role: "role" } as const;

/**
 * Removes the resources of a run, or of all runs.
 *
 * @param log called with each line of the report
 * @returns whether no resource remains
 */
export async function removeResources(
  account: Account,
  runId: string | undefined,
  log: (line: string) => void,
): Promise<boolean> {
  let resources: readonly Resource[];
  try {
    resources = await account.find(runId);
  } catch (error) {
    log(`The resources could not be listed: ${messageOf(error)}`);
    log(`Run this again: npm run test:aws -- --region ${account.region} --remove`);
    return false;
  }
  if (resources.length === 0) log("No resource is left.");
  const left: Resource[] = [];
  for (const resource of resources) {
    const problem = await removeOne(account, resource);
    const what = `${KINDS[resource.kind]} ${resource.name}`;
    log(problem === undefined ? `removed ${what}` : `NOT removed: ${what}: ${problem}`);
    if (problem !== undefined) left.push(resource);
  }
  if (left.length === 0) return true;
  log("These resources remain. Remove them with the following commands:");
  for (const resource of left)
    for (const command of removalCommands(resource, account.region)) log(`  ${command}`);
  return false;
}

/** Returns undefined, or why the resource could not be removed. */
async function removeOne(account: Account, resource: Resource): Promise<string | undefined> {
  for (let attempt = 1; ; attempt++) {
    try {
      await account.remove(resource);
      return undefined;
    } catch (error) {
      if (attempt === ATTEMPTS) return messageOf(error);
      await pause(PAUSE_MS);
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
