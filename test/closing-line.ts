import type { Reporter, TestModule } from "vitest/node";

/** Prints each skipped test with its reason, then `N passed, N failed` as the last line of a run. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let passed = 0;
    let failed = errors.length;
    let skipped = 0;
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") passed++;
        else if (result.state === "failed") failed++;
        else {
          skipped++;
          const note = result.state === "skipped" ? result.note : undefined;
          console.log(`skipped: ${test.fullName}${note ? `: ${note}` : ""}`);
        }
      }
    }
    process.on("exit", () => {
      // Whatever else ends the process, and with whatever code: a run that failed has failed.
      if (failed > 0) process.exitCode = 1;
      console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}`);
    });
  }
}
