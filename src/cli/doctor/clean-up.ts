import { type Check, problem } from "./check.ts";
import { byHand, ok } from "./finding.ts";

/** Rows can remain for this time after they could be removed, in milliseconds. */
const SLACK_MS = 3_600_000;
const HOUR_MS = 3_600_000;

/**
 * Old rows are removed. When clean-up ran is not stored, so this is derived from the rows that are
 * left.
 */
export const cleanUpCheck: Check = {
  name: "clean-up",
  readsTables: true,
  async run(context) {
    const { tokensMs, connectionsMs } = await context.inspection.overdueRows();
    const rows = tokensMs >= connectionsMs ? "tokens" : "connections";
    const overdueMs = Math.max(tokensMs, connectionsMs);
    if (overdueMs > SLACK_MS) {
      return [
        problem(
          context,
          `There are ${rows} that clean-up could have removed ${Math.floor(overdueMs / HOUR_MS)} h ago. No process has removed old rows since.`,
          "Keep a process that serves events running, or run npx sallyport cleanup on a schedule.",
        ),
      ];
    }
    const done = "No token and no connection is overdue for removal.";
    const usesLambda = [...context.definitions.values()].some(({ target }) => typeof target !== "string");
    if (usesLambda && context.isProduction) {
      return [
        byHand(
          `${done} A Lambda function does not remove old rows by itself.`,
          "Check that npx sallyport cleanup runs on a schedule.",
        ),
      ];
    }
    return [ok(done)];
  },
};
