import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

/** Folders by URL prefix. The browser loads the compiled modules without a bundler. */
const FOLDERS = [
  ["/page/", new URL("../dist/page/", import.meta.url)],
  ["/sallyport/", new URL("../../../dist/", import.meta.url)],
  ["/", new URL("../public/", import.meta.url)],
] as const;

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Returns a file of the page, or undefined if the file does not exist. */
export async function page(path: string): Promise<Response | undefined> {
  const wanted = path === "/" ? "/index.html" : path;
  if (!/^(?:\/[A-Za-z0-9_-]+)+\.[a-z]+$/.test(wanted)) return undefined;
  const type = TYPES[extname(wanted)];
  const [prefix, folder] = FOLDERS.find(([start]) => wanted.startsWith(start)) ?? [];
  if (type === undefined || prefix === undefined || folder === undefined) return undefined;
  const body = await readFile(fileURLToPath(new URL(wanted.slice(prefix.length), folder))).catch(
    () => undefined,
  );
  if (!body) return undefined;
  const headers: Record<string, string> = {
    "content-type": type,
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
  };
  if (type.startsWith("text/html")) headers["content-security-policy"] = contentPolicy(body.toString());
  return new Response(body, { headers });
}

/**
 * Allows files of this origin only. The only inline script is the import map, allowed by its hash.
 */
function contentPolicy(html: string): string {
  const inline = [...html.matchAll(/<script[^>]*type="importmap"[^>]*>([\s\S]*?)<\/script>/g)];
  const hashes = inline.map(
    ([, text]) =>
      `'sha256-${createHash("sha256")
        .update(text ?? "")
        .digest("base64")}'`,
  );
  return [
    "default-src 'self'",
    `script-src 'self' ${hashes.join(" ")}`,
    "connect-src 'self' ws: wss:",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
}
