import type { Gateway } from "../../storage/stores/gateways.ts";

/*
 * The record of a gateway that is being created or removed contains an endpoint that does not
 * exist. Its host name contains the region.
 */

/** Returns the endpoint of a record while its API is being created in a region. */
export function creatingEndpoint(region: string): string {
  return `https://${region}.being-made.invalid`;
}

/** Returns the endpoint of a record while its API is being removed from a region. */
export function removingEndpoint(region: string): string {
  return `https://${region}.being-removed.invalid`;
}

/** Returns whether the API of a record is being created. */
export function isBeingMade(record: Gateway | undefined): boolean {
  return record?.endpoint.endsWith(".being-made.invalid") === true;
}

/** Returns whether the API of a record is being removed. */
export function isBeingRemoved(record: Gateway | undefined): boolean {
  return record?.endpoint.endsWith(".being-removed.invalid") === true;
}

/** Returns whether the endpoint of a record is that of a Management API. */
export function isServing(record: Gateway | undefined): record is Gateway {
  return record !== undefined && !isBeingMade(record) && !isBeingRemoved(record);
}

/** Returns the region in the endpoint of a record, or undefined if it is a custom domain. */
export function recordedRegion({ endpoint }: Gateway): string | undefined {
  const [, region] =
    /\.execute-api\.([a-z0-9-]+)\./.exec(endpoint) ??
    /^https:\/\/([a-z0-9-]+)\.being-(?:made|removed)\.invalid/.exec(endpoint) ??
    [];
  return region;
}
