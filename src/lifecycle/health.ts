import type { Rooms } from "./rooms.ts";
import { within } from "./within.ts";

/** How a process is. */
export interface Health {
  readonly isHealthy: boolean;
  /** How long the database took to answer, in milliseconds. */
  readonly databaseMs: number;
  /** What is wrong, where something is. For your log, not for who asks. */
  readonly why?: string;
}

/** How long a database may take to say that it is there, in milliseconds. */
const DEADLINE_MS = 2000;

/** Whether a process can serve. */
export async function health({ gateways }: Rooms): Promise<Health> {
  const startedAt = performance.now();
  const since = () => Math.round(performance.now() - startedAt);
  let why: string | undefined = `The database did not answer within ${DEADLINE_MS} ms.`;
  const asked = gateways.ping().then(
    () => {
      why = undefined;
    },
    (error: unknown) => {
      why = error instanceof Error ? error.message : String(error);
    },
  );
  await within(DEADLINE_MS, asked);
  const databaseMs = since();
  return why === undefined ? { isHealthy: true, databaseMs } : { isHealthy: false, databaseMs, why };
}
