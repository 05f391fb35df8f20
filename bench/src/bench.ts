import { fanout } from "./fanout.js";
import type { Row } from "./pairs.js";

const rows: Row[] = [
  ...(await fanout(process.env.QUICK ? [10_000] : undefined, process.env.QUICK ? [0] : undefined)),
];
for (const row of rows)
  console.log(
    row.name.padEnd(24),
    row.value.toFixed(0).padStart(8),
    row.floor.toFixed(0).padStart(8),
    row.ratio.toFixed(2),
    row.unit,
  );
