import { type Finding, failed, ok } from "./finding.ts";

/** The oldest supported version of Node.js: major and minor. `engines` of package.json is the same. */
export const OLDEST_NODE = [20, 19] as const;

/** Checks the version of Node.js. */
export function checkNode(version = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  const isSupported = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
  if (isSupported) return ok(`Node.js ${version} is supported.`);
  return failed(`Node.js ${version} is not supported.`, `Install Node.js ${OLDEST_NODE.join(".")} or later.`);
}
