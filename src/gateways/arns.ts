/** The part of AWS that a region is in, as ARNs name it. */
export function partitionOf(region: string): string {
  if (region.startsWith("cn-")) return "aws-cn";
  return region.startsWith("us-gov-") ? "aws-us-gov" : "aws";
}

/** Of something of API Gateway's control plane, such as `apis/a1b2c3d4e5`. */
export function gatewayArn(region: string, path: string): string {
  return `arn:${partitionOf(region)}:apigateway:${region}::/${path}`;
}

/** Of all that an API calls functions for. */
export function callsArn(region: string, account: string, apiId: string): string {
  return `arn:${partitionOf(region)}:execute-api:${region}:${account}:${apiId}/*`;
}
