import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { nodeFolder, run } from "./commands.ts";

export type PeerVersions = Readonly<Record<string, string>>;
export type PeerChoice = "lowest" | "newest";

const root = resolve(import.meta.dirname, "../..");

/**
 * Peers with their own lock files in `test/packages`. The CDK is large, and React needs the same version
 * of react-dom.
 */
const INSTALLED_SEPARATELY = ["aws-cdk-lib", "constructs", "react"];

function peerRanges(): PeerVersions {
  const text = readFileSync(join(root, "package.json"), "utf8");
  const { peerDependencies } = JSON.parse(text) as { peerDependencies: PeerVersions };
  return Object.fromEntries(
    Object.entries(peerDependencies).filter(([name]) => !INSTALLED_SEPARATELY.includes(name)),
  );
}

export function peerNames(): readonly string[] {
  return Object.keys(peerRanges());
}

/** The lowest version that each range in `peerDependencies` allows. */
export function lowestPeers(): PeerVersions {
  const ranges = Object.entries(peerRanges());
  return Object.fromEntries(
    ranges.map(([name, range]) => {
      const version = /\d+\.\d+\.\d+/.exec(range)?.[0];
      if (!version)
        throw new Error(`peerDependencies: the range "${range}" of ${name} must name a full version.`);
      return [name, version];
    }),
  );
}

/** The newest version of each peer that its range allows and whose `engines` admit a Node, as npm picks them there. */
export async function newestPeers(major: number): Promise<PeerVersions> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-peers-"));
  try {
    const dependencies = peerRanges();
    await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, dependencies }));
    const command = ["npm", "install", "--package-lock-only", "--no-audit", "--no-fund"];
    await run(command, { cwd: folder, bins: [await nodeFolder(major)] });
    const lock = JSON.parse(await readFile(join(folder, "package-lock.json"), "utf8")) as {
      packages: Record<string, { version: string }>;
    };
    return Object.fromEntries(
      Object.keys(dependencies).map((name) => [name, lock.packages[`node_modules/${name}`]?.version ?? ""]),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
