import { expect, test } from "vitest";
import { GUIDES } from "./pages.ts";

test("each page begins with its title, one paragraph that says what it covers, and has a sample", () => {
  const wrong = GUIDES.filter(({ path }) => path !== "README.md").flatMap(({ path, text, samples }) => {
    const [, title, introduction = ""] = /^# (.+)\n\n((?:.+\n)+)/.exec(text) ?? [];
    if (title === undefined) return [`${path}: no title and introduction`];
    if (introduction.split(/(?<=\.)\s/).length > 4) return [`${path}: the introduction is too long`];
    return samples.length === 0 ? [`${path}: no sample`] : [];
  });
  expect(wrong).toEqual([]);
});
