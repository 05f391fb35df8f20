import { partitionOf } from "../protocol/partitions.ts";

/** The account that local ARNs name: AWS's own example. */
export const ACCOUNT_ID = "123456789012";

/** The ARN of an API's route at a stage, as policies name it. Source: AWS developer guide, "ARN format reference". */
export function routeArn(region: string, apiId: string, stage: string, routeKey: string): string {
  return `arn:${partitionOf(region)}:execute-api:${region}:${ACCOUNT_ID}:${apiId}/${stage}/${routeKey}`;
}
