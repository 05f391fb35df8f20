import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { installPackages } from "../packages/install.ts";
import { PAGES } from "./pages.ts";
import { compileErrors, isCode } from "./sample-program.ts";
import { checkShell } from "./shell-sample.ts";

// The others of SAMPLE_PACKAGES are large. The matrix installs them.
await installPackages("documentation");

const samples = PAGES.flatMap((page) => page.samples);
const of = (language: string) => samples.filter((sample) => sample.language === language);

test("B68 B70 each sample of TypeScript and JavaScript compiles", () => {
  expect(samples.filter(isCode).length).toBeGreaterThan(230);
  expect(compileErrors(PAGES)).toEqual([]);
});

test("each shell sample has valid syntax, and its commands and scripts exist", async () => {
  const checked = await Promise.all(PAGES.map(checkShell));
  expect(checked.flatMap(({ errors }) => errors)).toEqual([]);
  expect(checked.reduce((sum, { count }) => sum + count, 0)).toBeGreaterThan(200);
});

test("each JSON sample is valid", () => {
  const wrong = of("json").flatMap(({ place, code }) => {
    try {
      JSON.parse(code);
      return [];
    } catch (error) {
      return [`${place}: ${(error as Error).message}`];
    }
  });
  expect(wrong).toEqual([]);
});

test("each YAML sample is valid", () => {
  const errors = of("yaml").flatMap(({ place, code }) =>
    parseAllDocuments(code).flatMap((document) =>
      document.errors.map(({ message }) => `${place}: ${message}`),
    ),
  );
  expect(errors).toEqual([]);
});

test("each sample has a language", () => {
  expect(of("").map(({ place }) => place)).toEqual([]);
});
