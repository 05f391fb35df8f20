import type { Connection } from "../connections.ts";
import type { Stage } from "../stages.ts";
import type { ConnectionRow, OpenConnections } from "./messages.ts";

/** The maximum number of connections that the page shows. */
export const MAX_ROWS = 200;

/** Returns the newest open connections of all stages, newest first. */
export function openConnections(stages: Iterable<Stage>): OpenConnections {
  let count = 0;
  const newest: { readonly stage: Stage; readonly connection: Connection }[] = [];
  for (const stage of stages) {
    // The connections of a stage are in the order in which they were opened.
    let index = stage.connections.count;
    for (const connection of stage.connections) {
      if (index-- <= MAX_ROWS) newest.push({ stage, connection });
      count++;
    }
  }
  newest.sort((one, other) => other.connection.connectedAt - one.connection.connectedAt);
  return { rows: newest.slice(0, MAX_ROWS).map(rowOf), count };
}

function rowOf({
  stage,
  connection,
}: {
  readonly stage: Stage;
  readonly connection: Connection;
}): ConnectionRow {
  const { id, sourceIp, userAgent = "", connectedAt, lastActiveAt, fault } = connection;
  return {
    ...{ id, sourceIp, userAgent, connectedAt, lastActiveAt, fault },
    apiId: stage.apiId,
    stage: stage.name,
    received: connection.receivedCount,
    sent: connection.sentCount,
  };
}
