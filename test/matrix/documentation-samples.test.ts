import { beforeAll, expect, test } from "vitest";
import { PAGES } from "../documentation/pages.ts";
import { compileErrors, SAMPLE_PACKAGES } from "../documentation/sample-program.ts";
import { installPackages } from "../packages/install.ts";

beforeAll(async () => {
  for (const name of SAMPLE_PACKAGES) await installPackages(name);
}, 600_000);

test("each sample compiles with the packages that it imports", { timeout: 120_000 }, () => {
  expect(compileErrors(PAGES)).toEqual([]);
});
