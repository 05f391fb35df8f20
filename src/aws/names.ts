import { partitionOf } from "../protocol/partitions.ts";

/** Returns the ARN of a resource of API Gateway's control plane, such as `apis/a1b2c3d4e5`. */
export function gatewayArn(region: string, path: string): string {
  return `arn:${partitionOf(region)}:apigateway:${region}::/${path}`;
}

/** Returns the source ARN that matches every function call of an API. */
export function callsArn(region: string, account: string, apiId: string): string {
  return `arn:${partitionOf(region)}:execute-api:${region}:${account}:${apiId}/*`;
}

/** The prefix of every tag that Sallyport manages. */
export const TAG_PREFIX = "sallyport:";
/** The tag of an API or stage that contains the name of its gateway. */
export const GATEWAY_TAG = `${TAG_PREFIX}gateway`;
/** The tag of an API that contains the id of its record in the database. */
export const RECORD_TAG = `${TAG_PREFIX}record`;
/**
 * The tag of a domain that provisioning created. It contains the id of the record. The domain is
 * removed when its last mapping is removed.
 */
export const DOMAIN_TAG = `${TAG_PREFIX}domain`;
