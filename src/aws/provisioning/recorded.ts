import type { Gateway } from "../../auth/gateways.ts";

/*
 * What our record says of a gateway that is not there yet, or is about to go: an endpoint at which nothing is, and which names the
 * region.
 */

/** The endpoint of a gateway whose API is being made in a region. */
export function beingMade(region: string): string {
  return `https://${region}.being-made.invalid`;
}

/** The endpoint of a gateway whose API is being removed from a region. */
export function beingRemoved(region: string): string {
  return `https://${region}.being-removed.invalid`;
}

export function isBeingMade(record: Gateway | undefined): boolean {
  return record?.endpoint.endsWith(".being-made.invalid") === true;
}

export function isBeingRemoved(record: Gateway | undefined): boolean {
  return record?.endpoint.endsWith(".being-removed.invalid") === true;
}

/** Whether what is recorded is where a Management API is to be reached. */
export function isServing(record: Gateway | undefined): record is Gateway {
  return record !== undefined && !isBeingMade(record) && !isBeingRemoved(record);
}

/** The region that a record's endpoint names; undefined where it is a domain of one's own. */
export function recordedRegion({ endpoint }: Gateway): string | undefined {
  const [, region] =
    /\.execute-api\.([a-z0-9-]+)\./.exec(endpoint) ??
    /^https:\/\/([a-z0-9-]+)\.being-(?:made|removed)\.invalid/.exec(endpoint) ??
    [];
  return region;
}
