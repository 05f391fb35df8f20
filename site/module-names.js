import { readFileSync } from "node:fs";
import { Converter } from "typedoc";

const { exports } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));

/** Names each module as users import it, such as `sallyport/client`, and not by its source file. */
const NAMES = new Map(
  Object.entries(exports).map(([subpath, target]) => [
    target.replace(/^\.\/dist\/|\.js$/g, ""),
    `sallyport${subpath.slice(1)}`,
  ]),
);

export function load({ converter }) {
  converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.children ?? []) module.name = NAMES.get(module.name) ?? module.name;
  });
}
