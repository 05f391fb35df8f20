/** Describes a package that an app installs only if it uses a certain feature of Sallyport. */
export interface OptionalPackage {
  readonly name: string;
  /** The subject of the error message, such as "The PostgreSQL storage". */
  readonly neededBy: string;
  /** Command that installs the package. Default: `npm install` with its name. */
  readonly install?: string;
}

/**
 * Returns an error message for a dynamic import of a package that failed.
 *
 * Each caller writes the `import()` itself, with a literal, directly inside `try`. Bundlers then
 * treat the package as optional.
 *
 * @returns a message that includes the cause. It suggests `npm install` if this package is missing
 */
export function loadingFailure({ name, neededBy, install }: OptionalPackage, cause: unknown): string {
  if (isMissing(name, cause)) {
    return `${neededBy} needs the package ${name}, which is not installed. Run: ${install ?? `npm install ${name}`}`;
  }
  const [reason = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
  const failed = `${neededBy} could not load the package ${name}: ${reason.replace(/\.$/, "")}`;
  if (NO_REQUIRE.test(reason)) {
    return `${failed}. A bundler wrote this app as an ES module, in which require() does not exist. Bundle it as CommonJS, or add the banner ${BANNER} (docs/guides/bundling.md).`;
  }
  return `${failed}. Install the package again on this platform. If you bundle the app, keep ${name} external and deploy it beside the bundle (docs/guides/bundling.md).`;
}

/**
 * Returns the exports of a CommonJS package that a dynamic import loaded.
 *
 * Node.js provides them by name and as `default`. esbuild provides only `default` when it splits
 * the bundle.
 */
export function exportsOf<Exports extends object>(module: Exports): Exports {
  return (module as { readonly default?: Exports }).default ?? module;
}

/** JavaScript that defines `require` in an ES module. */
const BANNER =
  'import { createRequire as bannerRequire } from "node:module"; const require = bannerRequire(import.meta.url);';

/**
 * Matches the errors that esbuild, Rolldown, Rollup and Node.js throw for `require()` in an ES
 * module.
 */
const NO_REQUIRE =
  /Dynamic require of|Calling `require` for|Could not dynamically require|require is not defined/;

/**
 * Returns whether the package itself was not found. Returns false for its files and dependencies.
 */
function isMissing(name: string, cause: unknown): boolean {
  const { code, message } = (cause ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  if (code !== "ERR_MODULE_NOT_FOUND" && code !== "MODULE_NOT_FOUND") return false;
  const [, missing] = /Cannot find (?:package|module) ['"]([^'"]+)['"]/.exec(String(message)) ?? [];
  return missing === name;
}
