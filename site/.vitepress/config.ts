import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import GithubSlugger from "github-slugger";
import { type DefaultTheme, defineConfig, type Plugin } from "vitepress";
import llms from "vitepress-plugin-llms";

const DOCS = resolve(import.meta.dirname, "../../docs");
const read = (file: string) => readFileSync(join(DOCS, file), "utf8");

/** Returns the groups of the table of contents in `docs/index.md`, which is also the menu. */
function sidebar(): DefaultTheme.SidebarItem[] {
  const [, ...groups] = read("index.md").split(/^## /m);
  return groups.map((group) => ({
    text: group.split("\n")[0],
    items: [...group.matchAll(/^\| \[([^\]]+)\]\(([^)]+)\.md\)/gm)].map(([, text, page]) => ({
      text,
      link: `/${page}`,
    })),
  }));
}

function decisions(): DefaultTheme.SidebarItem {
  const files = readdirSync(join(DOCS, "decisions")).sort();
  const items = files.map((file) => ({
    text: /^# (.*)$/m.exec(read(`decisions/${file}`))?.[1] ?? file,
    link: `/decisions/${file.replace(/\.md$/, "")}`,
  }));
  return { text: "Decisions", collapsed: true, items };
}

/** Resolves Vue for the pages, which are outside of this package. */
function vueOfThisPackage(): Plugin {
  return {
    name: "vue-of-this-package",
    enforce: "pre",
    resolveId(source, _importer, { ssr }) {
      if (!/^vue(\/|$)/.test(source)) return undefined;
      if (ssr) return { id: source, external: true };
      return this.resolve(source, import.meta.filename, { skipSelf: true });
    },
  };
}

export default defineConfig({
  title: "Sallyport",
  description: "WebSocket backends behind AWS API Gateway, with permissions that really hold",
  lang: "en",
  srcDir: DOCS,
  cleanUrls: true,
  ignoreDeadLinks: "localhostLinks",
  markdown: {
    // The anchors are those of GitHub, so that a link works in both places.
    anchor: { slugify: (text) => new GithubSlugger().slug(text) },
  },
  themeConfig: {
    search: { provider: "local" },
    nav: [
      { text: "Getting started", link: "/getting-started" },
      { text: "Permissions", link: "/permissions" },
      { text: "API", link: "/reference/api/" },
    ],
    sidebar: [...sidebar(), { text: "API", link: "/reference/api/" }, decisions()],
    outline: [2, 3],
  },
  vite: {
    plugins: [vueOfThisPackage(), llms({ ignoreFiles: ["reference/api/**", "decisions/**"] })],
  },
});
