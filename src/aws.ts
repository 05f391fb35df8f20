export { gatewaySecret } from "./auth/gateways.ts";
export { defineGateway, type GatewayDefinition, type GatewayOptions } from "./aws/define-gateway.ts";
export type { AccessLogOptions, DomainOptions, ThrottlingOptions } from "./aws/definition-parts.ts";
export { gatewayPolicies, type PolicyDocument, type PolicyOptions } from "./aws/policies.ts";
export type { LambdaTarget, OwnTarget, ServiceTarget, Target } from "./aws/targets.ts";
export { type CloudFormationTemplate, cloudFormationTemplate } from "./aws/template.ts";
export type { ApiKeySelectionExpression } from "./protocol/api-key-source.ts";
