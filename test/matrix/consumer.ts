import { cp, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { nodeFolder, run } from "./commands.ts";
import { type PackageManager, packageManagerFolders, registryEnv } from "./package-managers.ts";

const root = resolve(import.meta.dirname, "../..");

/**
 * Packs the package as for publication.
 *
 * @returns the path of the tarball
 */
export async function packTarball(folder: string): Promise<string> {
  const command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder];
  return join(folder, await run(command, { cwd: root }));
}

/** The output of each consumer's app, which `app/main.js` prints. */
export const EXPECTED = {
  answer: { user: "ann" },
  message: { type: "hello" },
  revoked: "view",
  state: "denied",
};

/** An app in an empty folder that only its user can read, with the package installed from a tarball. */
export class Consumer {
  readonly folder: string;
  readonly #manager: PackageManager;
  readonly #bins: readonly string[];
  readonly #env: Readonly<Record<string, string>>;

  private constructor(
    folder: string,
    manager: PackageManager,
    bins: readonly string[],
    env: Readonly<Record<string, string>>,
  ) {
    this.folder = folder;
    this.#manager = manager;
    this.#bins = bins;
    this.#env = env;
  }

  /**
   * @param dependencies what the app installs, as `name@version` or paths
   * @param app the folder with the app's files: "app" to run it, "types" to compile it, "jest" to test it
   */
  static async install(
    manager: PackageManager,
    nodeMajor: number,
    dependencies: readonly string[],
    app: "app" | "types" | "jest" = "app",
  ): Promise<Consumer> {
    // mkdtemp creates the folder with mode 0700.
    const folder = await mkdtemp(join(tmpdir(), "sallyport-consumer-"));
    const bins = [await nodeFolder(nodeMajor), ...(await packageManagerFolders(manager))];
    const consumer = new Consumer(folder, manager, bins, await registryEnv());
    try {
      const description = { private: true, type: "module", sallyport: { app: "sallyport.js" } };
      await writeFile(join(folder, "package.json"), JSON.stringify(description));
      await cp(resolve(import.meta.dirname, app), folder, { recursive: true });
      await manager.prepare?.(folder);
      await consumer.#run([...manager.add, ...dependencies]);
    } catch (error) {
      await consumer.remove();
      throw error;
    }
    return consumer;
  }

  /** Runs a command of an installed package, as a user types it. */
  exec(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    return this.#run([...this.#manager.exec, ...command], env);
  }

  /** Runs a file of the app. */
  node(file: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
    return this.#run([...this.#manager.node, file], env);
  }

  /** @returns the version that was installed, or "" where there is no node_modules folder */
  async versionOf(dependency: string): Promise<string> {
    const file = join(this.folder, "node_modules", dependency, "package.json");
    // pnpm keeps a peer that the app does not list beside the package.
    const beside = join(
      await realpath(join(this.folder, "node_modules/sallyport")).catch(() => ""),
      "..",
      dependency,
    );
    for (const path of [file, join(beside, "package.json")]) {
      const text = await readFile(path, "utf8").catch(() => undefined);
      if (text !== undefined) return (JSON.parse(text) as { version: string }).version;
    }
    return "";
  }

  #run(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    return run(command, { cwd: this.folder, bins: this.#bins, env: { ...this.#env, ...env } });
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
