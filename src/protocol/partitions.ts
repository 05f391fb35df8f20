/** By how their regions begin. Source: AWS SDK, endpoint rules. */
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

/** The part of AWS that a region is in, as ARNs name it. */
export function partitionOf(region: string): string {
  const [, partition = "aws"] = PARTITIONS.find(([start]) => region.startsWith(start)) ?? [];
  return partition;
}

/** What the names of AWS's hosts in a region end with. */
export function suffixOf(region: string): string {
  return SUFFIXES[partitionOf(region)] ?? "amazonaws.com";
}

/**
 * Returns the region of an API's host at AWS, such as `abc.execute-api.eu-west-1.amazonaws.com`, or undefined for any other host.
 *
 * An endpoint inside a VPC has `vpce.` before the suffix.
 */
export function regionOfHost(hostname: string): string | undefined {
  const [, region, suffix] = /^[^.]+\.execute-api\.([a-z0-9-]+)\.(?:vpce\.)?(.+)$/.exec(hostname) ?? [];
  return region !== undefined && suffix === suffixOf(region) ? region : undefined;
}
