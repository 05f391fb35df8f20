/** Partitions by the prefix of their regions. Source: AWS SDK, endpoint rules. */
const PARTITIONS = [
  ["cn-", "aws-cn"],
  ["us-gov-", "aws-us-gov"],
  ["us-iso-", "aws-iso"],
  ["us-isob-", "aws-iso-b"],
  ["eu-isoe-", "aws-iso-e"],
  ["us-isof-", "aws-iso-f"],
  ["eusc-", "aws-eusc"],
] as const;

const SUFFIXES: Readonly<Record<string, string>> = {
  "aws-cn": "amazonaws.com.cn",
  "aws-iso": "c2s.ic.gov",
  "aws-iso-b": "sc2s.sgov.gov",
  "aws-iso-e": "cloud.adc-e.uk",
  "aws-iso-f": "csp.hci.ic.gov",
  "aws-eusc": "amazonaws.eu",
};

/** Returns the AWS partition of a region, as in ARNs. */
export function partitionOf(region: string): string {
  const [, partition = "aws"] = PARTITIONS.find(([start]) => region.startsWith(start)) ?? [];
  return partition;
}

/** Returns the DNS suffix of AWS hosts in a region. */
export function suffixOf(region: string): string {
  return SUFFIXES[partitionOf(region)] ?? "amazonaws.com";
}

/**
 * Returns the region of an AWS API host such as `abc.execute-api.eu-west-1.amazonaws.com`.
 *
 * A VPC endpoint has `vpce.` before the suffix.
 *
 * @returns `undefined` for any other host
 */
export function regionOfHost(hostname: string): string | undefined {
  const [, region, suffix] = /^[^.]+\.execute-api\.([a-z0-9-]+)\.(?:vpce\.)?(.+)$/.exec(hostname) ?? [];
  return region !== undefined && suffix === suffixOf(region) ? region : undefined;
}
