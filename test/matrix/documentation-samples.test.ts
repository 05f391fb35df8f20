import { expect, test } from "vitest";
import { PAGES } from "../documentation/pages.ts";
import { compileErrors, SAMPLE_PACKAGES } from "../documentation/sample-program.ts";
import { installPackages } from "../packages/install.ts";

for (const name of SAMPLE_PACKAGES) await installPackages(name);

test("each sample compiles with the packages that it imports", () => {
  expect(compileErrors(PAGES)).toEqual([]);
});
