import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import ts from "typescript";
import { type Page, ROOT, type Sample } from "./pages.ts";

/** Code around samples that do not stand alone, one file for each preamble. */
const PREAMBLES = join(import.meta.dirname, "preambles");
/** The modules of the reader that the pages import and do not show, such as `./login.ts`. */
const MODULES = join(import.meta.dirname, "modules");
/** The samples are compiled as if they were here. The folder does not exist. */
const VIRTUAL = join(import.meta.dirname, "virtual");
/** The folders of test/packages/ with packages that only some samples import. */
export const SAMPLE_PACKAGES = ["documentation", "next", "cdk"] as const;
const PACKAGES = SAMPLE_PACKAGES.map((name) => join(ROOT, "test/packages", name, "x.ts"));

const EXTENSIONS = ["ts", "tsx", "js", "jsx", "mjs"];

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  lib: ["lib.es2023.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts", "lib.dom.asynciterable.d.ts"],
  types: ["node"],
  typeRoots: [join(ROOT, "node_modules/@types")],
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  allowJs: true,
  checkJs: true,
  allowImportingTsExtensions: true,
  resolveJsonModule: true,
  jsx: ts.JsxEmit.ReactJSX,
};

const BUNDLER: ts.CompilerOptions = {
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
};

/** A parameter or a variable without a type. JavaScript cannot declare one. */
const IMPLICIT_ANY: ReadonlySet<number> = new Set([7005, 7006, 7031, 7034]);

/** Returns whether a sample is code of TypeScript or JavaScript. */
export const isCode = ({ language }: Sample): boolean => EXTENSIONS.includes(language);

/** The name of the file in the first line of a sample, such as `// src/permissions.ts`. */
export function fileName({ code, language }: Sample): string | undefined {
  const [, name] = /^\/\/ ((?:[\w[\]()@.-]+\/)*[\w[\]-]+(?:\.[\w-]+)*\.\w+)(?: .*)?\n/.exec(code) ?? [];
  return name?.endsWith(`.${language}`) ? name : undefined;
}

const IMPORT = /^import\b[^;]*?;$/gm;

/** Returns the code of a sample inside its preamble. The imports of the sample become the first lines. */
function withPreamble({ place, code, preamble }: Sample): string {
  if (preamble === undefined) return code;
  const file = join(PREAMBLES, `${preamble}.ts`);
  if (!existsSync(file)) throw new Error(`${place}: the preamble "${preamble}" has no file in ${PREAMBLES}.`);
  const imports = [...code.matchAll(IMPORT)].map(([line]) => line);
  const body = code.replaceAll(IMPORT, "");
  const around = readFileSync(file, "utf8");
  const imported = new Set(imports.flatMap((line) => namesOf(line)));
  const [before = "", after = ""] = around.split(/^ *\/\/ the sample\n/m);
  const kept = before.replaceAll(IMPORT, (line) => withoutNames(line, imported));
  return `${imports.join("\n")}\n${kept}\n${body}\n${after}\nexport {};\n`;
}

const namesOf = (line: string) =>
  [...(/\{([^}]*)\}/.exec(line)?.[1] ?? "").split(",")].map((name) => name.replace(/^\s*type\s/, "").trim());

/** Removes the names from an import of the preamble that the sample imports itself. */
function withoutNames(line: string, names: ReadonlySet<string>): string {
  return line.replace(/\{([^}]*)\}/, (_all, list: string) => {
    const left = list.split(",").filter((name) => !names.has(name.replace(/^\s*type\s/, "").trim()));
    return `{${left.join(",")}}`;
  });
}

/**
 * The packages of {@link SAMPLE_PACKAGES} that are not installed. They are large, so only tests that
 * need them install them.
 */
function missingPackages(): ReadonlySet<string> {
  const missing = PACKAGES.map((file) => dirname(file)).filter(
    (folder) => !existsSync(join(folder, "node_modules")),
  );
  return new Set(
    missing.flatMap((folder) => {
      const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      return Object.keys(dependencies).filter((name) => !existsSync(join(ROOT, "node_modules", name)));
    }),
  );
}

/** Returns whether code imports one of the packages. */
function importsAny(code: string, packages: ReadonlySet<string>): boolean {
  return [...code.matchAll(/(?:from|import) "((?:@[\w-]+\/)?[\w.-]+)/g)].some(([, name = ""]) =>
    packages.has(name),
  );
}

/** The files of each page: named samples by their names, others by their lines. */
function virtualFiles(pages: readonly Page[]) {
  const files = new Map<string, { readonly code: string; readonly sample: Sample }>();
  const missing = missingPackages();
  for (const { path, samples } of pages) {
    const folder = join(VIRTUAL, path.replace(/\.md$/, ""));
    for (const sample of samples.filter(isCode)) {
      const code = withPreamble(sample);
      if (importsAny(code, missing)) continue;
      const line = sample.place.replace(/^.*:/, "");
      const named = join(folder, fileName(sample) ?? `line-${line}.${sample.language}`);
      const file = files.has(named) ? named.replace(/(\.\w+)$/, `~${line}$1`) : named;
      files.set(file, { code, sample });
    }
  }
  return files;
}

/** The file of `modules/` that a page can import under this path, from any folder of the page. */
function sharedModule(path: string): string | undefined {
  if (!path.startsWith(`${VIRTUAL}/`)) return undefined;
  const file = join(MODULES, path.replace(/^.*\//, ""));
  return existsSync(file) ? file : undefined;
}

/** Returns the file of the same name in `src/` of the page, to which `@/name` refers. */
function inSource(path: string, sources: ReadonlyMap<string, unknown>): string | undefined {
  for (let folder = dirname(path); folder.startsWith(`${VIRTUAL}/`); folder = dirname(folder)) {
    const file = join(folder, "src", basename(path));
    if (sources.has(file)) return file;
  }
  return undefined;
}

function compilerHost(sources: ReadonlyMap<string, { readonly code: string }>): ts.CompilerHost {
  const host = ts.createCompilerHost(OPTIONS);
  const { fileExists, readFile, directoryExists, getSourceFile } = host;
  const text = (path: string) => {
    const own = sources.get(path) ?? sources.get(inSource(path, sources) ?? "");
    const shared = own === undefined ? sharedModule(path) : undefined;
    return shared === undefined ? own?.code : readFileSync(shared, "utf8");
  };
  host.fileExists = (path) => text(path) !== undefined || fileExists(path);
  host.readFile = (path) => text(path) ?? readFile(path);
  host.directoryExists = (path) => path.startsWith(VIRTUAL) || (directoryExists?.(path) ?? false);
  host.getSourceFile = (path, options, ...rest) => {
    const code = text(path);
    return code === undefined
      ? getSourceFile(path, options, ...rest)
      : ts.createSourceFile(path, code, options);
  };
  host.resolveModuleNameLiterals = (literals, containing, redirected, options, source) =>
    literals.map((literal) => {
      const mode = ts.getModeForUsageLocation(source, literal, options);
      const name = moduleName(literal.text);
      const resolved = [containing, ...PACKAGES].map((from) =>
        ts.resolveModuleName(name, from, options, host, undefined, redirected, mode),
      );
      // Next.js has no `exports`, and bundlers find its modules without an extension.
      if (/^next\//.test(name))
        resolved.push(...PACKAGES.map((from) => ts.resolveModuleName(name, from, BUNDLER, host)));
      return resolved.find(({ resolvedModule }) => resolvedModule) ?? { resolvedModule: undefined };
    });
  return host;
}

/** Resolves `@/sallyport` as Next.js does, to a module of the reader. */
const moduleName = (name: string) => name.replace(/^@\/(.*)$/, "./$1.ts");

/**
 * Compiles the samples of pages. Each page is a folder, in which its samples are files.
 *
 * Samples that import a package of test/packages/ that is not installed are left out. The test
 * test/matrix/documentation-samples.test.ts installs these packages.
 *
 * @returns a line for each error, with the page and the line of the sample
 */
export function compileErrors(pages: readonly Page[]): readonly string[] {
  const sources = virtualFiles(pages);
  const program = ts.createProgram([...sources.keys()], OPTIONS, compilerHost(sources));
  return [...sources].flatMap(([file, { sample }]) => {
    const source = program.getSourceFile(file);
    if (source === undefined) return [`${sample.place}: the sample was not compiled`];
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    const wrong = found.filter(({ code }) => !(/js$/.test(file) && IMPLICIT_ANY.has(code)));
    return wrong.map(({ messageText, start = 0 }) => {
      const { line } = source.getLineAndCharacterOfPosition(start);
      const shown = source.text.split("\n")[line]?.trim() ?? "";
      return `${sample.place} \`${shown}\`: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
    });
  });
}
