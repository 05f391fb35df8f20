import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");

/** Words that hide who does what, or that only a reader with perfect English knows. */
const IDIOMS = new RegExp(
  `\\b(${[
    "(no|some|every)body('s)?|whoever|whatever|whom|whose|nowhere",
    "anew|by and by|as it is|for good|in vain|meanwhile|under way",
    "go(es)? on|(is|are) (told|asked)|tells?|told|hears?|heard|asks|stands?",
    "of (ours|its own|their own|AWS's|now)|(is|are) no [a-z]+",
    "on your desk|comes along|makes? its way|brings? to an end|draws? the consequences",
  ].join("|")})\\b`,
  "gi",
);

interface Goal {
  readonly name: string;
  readonly most: number;
  readonly measured: number;
  /** What to change, the worst first. */
  readonly worst: readonly string[];
}

interface Text {
  readonly file: string;
  readonly sentences: readonly string[];
}

function sentencesOf(text: string): string[] {
  return text
    .split(/\n\s*\n/)
    .map((paragraph) =>
      paragraph
        .replace(/^\s*[-*>]\s+/gm, ". ")
        .replace(/\s+/g, " ")
        .trim(),
    )
    .filter((paragraph) => /[a-z]{3}/.test(paragraph))
    .flatMap((paragraph) => paragraph.split(/(?<=[.!?])\s+/))
    .filter((sentence) => sentence.split(" ").length > 2);
}

const wordsOf = (sentence: string) => sentence.split(/\s+/).filter((word) => /\w/.test(word)).length;

function goalsOf(texts: readonly Text[]): readonly Goal[] {
  const all = texts.flatMap(({ file, sentences }) => sentences.map((sentence) => ({ file, sentence })));
  const words = all.reduce((sum, { sentence }) => sum + wordsOf(sentence), 0);
  const line = ({ file, sentence }: (typeof all)[number]) => `${file}: ${sentence.slice(0, 200)}`;
  const long = all
    .filter(({ sentence }) => wordsOf(sentence) > 25)
    .sort((one, other) => wordsOf(other.sentence) - wordsOf(one.sentence))
    .map(line);
  const joined = all.filter(({ sentence }) => sentence.includes(";")).map(line);
  const idioms = all.flatMap(({ file, sentence }) =>
    [...sentence.matchAll(IDIOMS)].map(([idiom]) => `${file}: "${idiom}" in: ${sentence.slice(0, 200)}`),
  );
  return [
    { name: "words per sentence", most: 15, measured: words / all.length, worst: long },
    {
      name: "sentences of more than 25 words, %",
      most: 6,
      measured: (100 * long.length) / all.length,
      worst: long,
    },
    {
      name: "sentences with a semicolon, %",
      most: 2,
      measured: (100 * joined.length) / all.length,
      worst: joined,
    },
    { name: "idioms per 1000 words", most: 1, measured: (1000 * idioms.length) / words, worst: idioms },
  ];
}

/** Returns a line for each goal that is missed, with the worst sentences. */
function missed(goals: readonly Goal[]): string[] {
  return goals
    .filter(({ most, measured }) => measured > most)
    .map(({ name, most, measured, worst }) =>
      [`${name}: ${measured.toFixed(2)}, at most ${most}`, ...worst.slice(0, 10)].join("\n  "),
    );
}

/** Markdown without what is no prose: code, tables, headings. */
function proseOf(markdown: string): string {
  return markdown
    .replace(/^---\n[\s\S]*?\n---\n/, "")
    .replace(/<!--[\s\S]*?-->/g, "")
    .replace(/```[\s\S]*?```/g, "\n\n")
    .replace(/^\|.*$/gm, "")
    .replace(/^#+ .*$/gm, "")
    .replace(/`[^`\n]*`/g, "X")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
}

function commentsOf(source: string): string {
  return [...source.matchAll(/\/\*\*?([\s\S]*?)\*\/|(?<=^|\s)\/\/(.*)$/gm)]
    .map(([, block, line]) => block ?? line ?? "")
    .filter((text) => !/biome-ignore|@vite/.test(text))
    .map((text) =>
      text
        .replace(/^\s*\* ?/gm, "")
        .replace(/`[^`\n]*`/g, "X")
        .replace(/@\w+( \w+)?/g, ""),
    )
    .join("\n\n");
}

const filesIn = (folder: string, end: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(end) && !file.startsWith("reference/api/"))
    .map((file) => join(folder, file));

const isRecord = (file: string) => file.startsWith("docs/decisions/");
const markdown = filesIn("docs", ".md");
const pages = ["README.md", ...markdown.filter((file) => !isRecord(file))];
const records = markdown.filter(isRecord);
const groups = [
  { name: "README and docs/", files: pages },
  { name: "the decision records", files: records },
];
const sources = filesIn("src", ".ts");
const read = (file: string) => readFileSync(join(root, file), "utf8");

describe("the English of", () => {
  test.each(groups)("$name", ({ files }) => {
    const texts = files.map((file) => ({ file, sentences: sentencesOf(proseOf(read(file))) }));
    expect(missed(goalsOf(texts)).join("\n")).toBe("");
  });

  test("the comments in src/", () => {
    const texts = sources.map((file) => ({ file, sentences: sentencesOf(commentsOf(read(file))) }));
    expect(missed(goalsOf(texts)).join("\n")).toBe("");
  });
});

test.each(groups)("lines of $name have at most 100 characters", ({ files }) => {
  const lines = files.flatMap((file) =>
    read(file)
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.startsWith("|") && !/https?:\/\//.test(line))
      .map((line) => ({ file, line })),
  );
  const long = lines.filter(({ line }) => line.length > 100);
  const share = (100 * long.length) / lines.length;
  const worst = long.slice(0, 10).map(({ file, line }) => `${file}: ${line}`);
  expect(share > 3 ? [`${share.toFixed(1)} %`, ...worst].join("\n") : "").toBe("");
});
