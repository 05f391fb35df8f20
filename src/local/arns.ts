import { partitionOf } from "../protocol/partitions.ts";

/** The account in local ARNs, which is the example account of AWS. */
export const ACCOUNT_ID = "123456789012";

/**
 * Returns the ARN of a route at a stage, as policies contain it.
 *
 * Source: AWS developer guide, "ARN format reference".
 */
export function routeArn(region: string, apiId: string, stage: string, routeKey: string): string {
  return `arn:${partitionOf(region)}:execute-api:${region}:${ACCOUNT_ID}:${apiId}/${stage}/${routeKey}`;
}
