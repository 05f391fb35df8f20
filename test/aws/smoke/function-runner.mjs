// Runs the handler of a deployed function in a process of its own, for ./function-processes.ts.
import { pathToFileURL } from "node:url";

const { handler } = await import(pathToFileURL(process.argv[2]).href);

process.on("message", ({ id, event }) => {
  Promise.resolve()
    .then(() => handler(event, { getRemainingTimeInMillis: () => 60_000 }))
    .then(
      (result) => process.send?.({ id, payload: JSON.stringify(result ?? null), hasFailed: false }),
      (error) => {
        const payload = JSON.stringify({
          errorType: error?.name,
          errorMessage: String(error?.message ?? error),
        });
        process.send?.({ id, payload, hasFailed: true });
      },
    );
});
process.send?.("ready");
