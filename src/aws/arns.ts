import { partitionOf } from "../protocol/partitions.ts";

/** Returns the ARN of a resource of API Gateway's control plane, such as `apis/a1b2c3d4e5`. */
export function gatewayArn(region: string, path: string): string {
  return `arn:${partitionOf(region)}:apigateway:${region}::/${path}`;
}

/** Returns the source ARN that matches every function call of an API. */
export function callsArn(region: string, account: string, apiId: string): string {
  return `arn:${partitionOf(region)}:execute-api:${region}:${account}:${apiId}/*`;
}
