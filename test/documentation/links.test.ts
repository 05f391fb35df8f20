import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";
import { GUIDES, PAGES, ROOT, readPage } from "./pages.ts";

const pages = new Map(PAGES.map((page) => [page.path, page]));

/** Returns what is wrong with a link to a file of the repository. */
function brokenLink(path: string, href: string): string | undefined {
  const [file = "", anchor] = decodeURI(href).split("#");
  // The README of a template is read in an app, in which the package is installed.
  const packaged = normalize(join(dirname(path), file)).replace(/^.*node_modules\/sallyport\//, "");
  const target = file === "" ? path : packaged;
  if (!existsSync(join(ROOT, target))) return `${target} does not exist`;
  if (anchor === undefined) return undefined;
  const page = pages.get(target) ?? (target.endsWith(".md") ? readPage(target) : undefined);
  return page?.anchors.has(anchor) ? undefined : `${target} has no heading #${anchor}`;
}

test("each link of a page leads to an existing file and heading", () => {
  const internal = PAGES.flatMap(({ path, links }) => links.map((link) => ({ path, ...link }))).filter(
    ({ href }) => !/^[a-z]+:/.test(href),
  );
  expect(internal.length).toBeGreaterThan(180);
  const broken = internal.flatMap(({ path, place, href }) => {
    const reason = brokenLink(path, href);
    return reason === undefined ? [] : [`${place}: ${reason}`];
  });
  expect(broken).toEqual([]);
});

test("docs/index.md lists each page", () => {
  const listed = pages.get("docs/index.md")?.links.map(({ href }) => `docs/${href}`);
  const guides = GUIDES.map(({ path }) => path).filter((path) => !/README|index\.md$/.test(path));
  expect(guides.filter((path) => !listed?.includes(path))).toEqual([]);
});

test("the pages in docs/ link to no other folder, because the site has no other pages", () => {
  const leaving = PAGES.filter(({ path }) => path.startsWith("docs/")).flatMap(({ path, links }) =>
    links
      .filter(({ href }) => !/^([a-z]+:|#)/.test(href))
      .filter(({ href }) => !normalize(join(dirname(path), href)).startsWith("docs/"))
      .map(({ place, href }) => `${place}: ${href}`),
  );
  expect(leaving).toEqual([]);
});
