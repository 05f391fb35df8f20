import { partitionOf } from "../protocol/partitions.ts";

/** Of something of API Gateway's control plane, such as `apis/a1b2c3d4e5`. */
export function gatewayArn(region: string, path: string): string {
  return `arn:${partitionOf(region)}:apigateway:${region}::/${path}`;
}

/** Of all that an API calls functions for. */
export function callsArn(region: string, account: string, apiId: string): string {
  return `arn:${partitionOf(region)}:execute-api:${region}:${account}:${apiId}/*`;
}
