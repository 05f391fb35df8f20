import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import type { Plugin } from "vitest/config";
import { installPackages } from "../packages/install.ts";

const root = resolve(import.meta.dirname, "../..");
const SOURCE = join(root, "src/react/react.ts");

/** The folders in `test/packages` that contain a version of React, and that version. */
export const OTHER_REACTS = [
  { name: "react-18", version: "18.3." },
  { name: "react-lowest", version: "18.0.0" },
] as const;

/** Installs these versions of React. */
export async function setup(): Promise<void> {
  for (const { name } of OTHER_REACTS) await installPackages(name);
}

/**
 * Makes tests use the version of React in `test/packages/<name>`, and the built `sallyport/react` instead
 * of its source.
 */
export function importOtherReact(name: string): Plugin {
  const { resolve: find } = createRequire(join(root, "test/packages", name, "package.json"));
  return {
    name: `import-${name}`,
    enforce: "pre",
    async resolveId(id, importer) {
      if (/^react(-dom)?(\/|$)/.test(id)) return find(id);
      if (id === "sallyport/client") return join(root, "dist/client/socket.js");
      const found = id.endsWith("/react.ts") ? await this.resolve(id, importer, { skipSelf: true }) : null;
      return found?.id === SOURCE ? join(root, "dist/react/react.js") : null;
    },
  };
}
