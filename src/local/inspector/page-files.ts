import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** A file of the page. */
interface PageFile {
  /** Its name in the folder `dist/inspector/` of the package. */
  readonly name: string;
  readonly type: string;
}

/** The files by the path of their URL. No other file can be requested. */
const FILES: ReadonlyMap<string, PageFile> = new Map([
  ["/", { name: "index.html", type: "text/html; charset=utf-8" }],
  ["/.inspector/inspector.js", { name: "inspector.js", type: "text/javascript; charset=utf-8" }],
  ["/.inspector/inspector.css", { name: "inspector.css", type: "text/css; charset=utf-8" }],
]);

/** Returns the file of a path, or undefined for another path. */
export function pageFileAt(path: string): PageFile | undefined {
  return FILES.get(path);
}

/** Returns the content of a file, or undefined if the page is not built. */
export async function readPageFile({ name }: PageFile): Promise<Buffer | undefined> {
  try {
    // The package finds itself by its name, from its sources and from dist/ in the same way.
    const manifest = createRequire(import.meta.url).resolve("sallyport/package.json");
    return await readFile(join(dirname(manifest), "dist/inspector", name));
  } catch {
    return undefined;
  }
}
