import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import GithubSlugger from "github-slugger";
import MarkdownIt from "markdown-it";
import type Token from "markdown-it/lib/token.mjs";

/** The folder of the repository. */
export const ROOT = resolve(import.meta.dirname, "../..");

/** A fenced block of code. */
export interface Sample {
  /** The page and the line, such as `docs/permissions.md:5`. */
  readonly place: string;
  readonly language: string;
  readonly code: string;
  /** The heading above the block. */
  readonly section: string;
  /** The name in the comment `<!-- preamble: name -->` above the block. */
  readonly preamble: string | undefined;
  /** The file that the sentence above the block creates, as in "Create `src/server.ts`:". */
  readonly creates: string | undefined;
}

export interface Link {
  readonly place: string;
  readonly href: string;
}

/** A Markdown file of the repository. */
export interface Page {
  /** The path from the root of the repository, such as `docs/permissions.md`. */
  readonly path: string;
  readonly text: string;
  /** The ids of the headings, as GitHub derives them. */
  readonly anchors: ReadonlySet<string>;
  readonly links: readonly Link[];
  readonly samples: readonly Sample[];
}

const markdown = new MarkdownIt({ html: true });

function headingOf(inline: Token | undefined): string {
  return (inline?.children ?? [])
    .filter(({ type }) => type === "text" || type === "code_inline")
    .map(({ content }) => content)
    .join("");
}

/** Reads and parses a Markdown file. */
export function readPage(path: string): Page {
  const text = readFileSync(join(ROOT, path), "utf8");
  const slugger = new GithubSlugger();
  const anchors = new Set<string>();
  const links: Link[] = [];
  const samples: Sample[] = [];
  let section = "";
  let preamble: string | undefined;
  let creates: string | undefined;
  const tokens = markdown.parse(text, {});
  for (const [index, token] of tokens.entries()) {
    const place = `${path}:${(token.map?.[0] ?? 0) + 1}`;
    if (token.type === "heading_open") {
      section = headingOf(tokens[index + 1]);
      anchors.add(slugger.slug(section));
    } else if (token.type === "html_block") {
      preamble = /<!-- preamble: ([\w-]+) -->/.exec(token.content)?.[1];
    } else if (token.type === "fence") {
      const language = token.info.trim();
      samples.push({ place, language, code: token.content, section, preamble, creates });
      preamble = undefined;
      creates = undefined;
    } else if (token.type === "inline") {
      creates = /Create\s`([\w./-]*\.\w+)`[^`]*[:.]?$/.exec(token.content)?.[1];
      for (const child of token.children ?? []) {
        const href = child.attrGet("href") ?? child.attrGet("src");
        if (href !== null) links.push({ place, href });
      }
    }
  }
  return { path, text, anchors, links, samples };
}

const markdownIn = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md") && !/node_modules|^reference\/api\//.test(file))
    .map((file) => join(folder, file));

const ofRoot = readdirSync(ROOT).filter((file) => file.endsWith(".md"));
const all = [...ofRoot, ...["docs", "examples", "templates"].flatMap(markdownIn)].sort().map(readPage);

/** Each Markdown file of the repository that a user reads. */
export const PAGES: readonly Page[] = all;

/** README.md and the pages in `docs/`, without the decisions. Users follow their samples. */
export const GUIDES: readonly Page[] = all.filter(
  ({ path }) => path === "README.md" || (path.startsWith("docs/") && !path.startsWith("docs/decisions/")),
);
