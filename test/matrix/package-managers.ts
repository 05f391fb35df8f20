import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { binFolder, run } from "./commands.ts";

export interface PackageManager {
  readonly name: string;
  /** The npm package and command that start it. Absent for npm itself, which is installed with Node. */
  readonly package?: readonly [spec: string, command: string];
  /** Whether it installs required peers that the app does not list. */
  readonly installsPeers: boolean;
  /** Prepares an empty folder. */
  prepare?(folder: string): Promise<void>;
  readonly add: readonly string[];
  /** Runs a command of an installed package. */
  readonly exec: readonly string[];
  readonly node: readonly string[];
}

const npx = ["npx", "--no", "--"];
export const NPM: PackageManager = {
  name: "npm",
  installsPeers: true,
  add: ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund"],
  exec: npx,
  node: ["node"],
};

const yarn4 = (nodeLinker: "pnp" | "node-modules"): PackageManager => ({
  name: `Yarn 4, ${nodeLinker}`,
  package: ["@yarnpkg/cli-dist@4", "yarn"],
  installsPeers: false,
  prepare: async (folder) => {
    // An empty lock file makes the folder a project of its own.
    await writeFile(join(folder, "yarn.lock"), "");
    await writeFile(join(folder, ".yarnrc.yml"), `nodeLinker: ${nodeLinker}\nenableTelemetry: false\n`);
  },
  add: ["yarn", "add"],
  exec: nodeLinker === "pnp" ? ["yarn"] : npx,
  node: nodeLinker === "pnp" ? ["yarn", "node"] : ["node"],
});

const pnpm = (major: number): PackageManager => ({
  name: `pnpm ${major}`,
  package: [`pnpm@${major}`, "pnpm"],
  installsPeers: true,
  add: ["pnpm", "add", "--prefer-offline"],
  exec: npx,
  node: ["node"],
});

export const PACKAGE_MANAGERS: readonly PackageManager[] = [
  NPM,
  pnpm(10),
  // Version 11 needs Node 22.13.
  pnpm(12),
  {
    name: "Yarn 1",
    package: ["yarn@1.22", "yarn"],
    installsPeers: false,
    add: ["yarn", "add", "--prefer-offline", "--non-interactive"],
    exec: npx,
    node: ["node"],
  },
  yarn4("node-modules"),
  yarn4("pnp"),
];

/** The folders that PATH needs for a package manager. */
export async function packageManagerFolders(manager: PackageManager): Promise<readonly string[]> {
  return manager.package ? [await binFolder(...manager.package)] : [];
}

/** Makes every package manager use the registry that npm is configured for. Yarn has a default of its own. */
export async function registryEnv(): Promise<Readonly<Record<string, string>>> {
  const registry = await run(["npm", "config", "get", "registry"], { cwd: "/" });
  return { npm_config_registry: registry, YARN_NPM_REGISTRY_SERVER: registry };
}
