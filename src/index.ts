export type { AuditAction, AuditEntry, AuditFilter } from "./access/audit.ts";
export type { DecisionFilter, DecisionLogOptions } from "./access/decision-log.ts";
export type { Decision, DecisionStep } from "./access/decisions.ts";
export type { EndedSessionsOptions } from "./access/ended-sessions.ts";
export type { ChangeOptions, GrantOptions, Holder } from "./access/grants.ts";
export type { OriginCheck } from "./access/origins.ts";
export type { KnownPermission } from "./access/permission-rows.ts";
export {
  definePermissions,
  modelPermissions,
  type Permission,
  type PermissionSet,
} from "./access/permissions.ts";
export type { Limits } from "./access/rate-limits.ts";
export type { GroupRights, UserFilter, UserRights, UserSummary } from "./access/rights.ts";
export type { Rule } from "./access/rules.ts";
export type { SallyportOptions, TokenOptions, UserDirectory } from "./config.ts";
export type { Audience, Requirement } from "./delivery/audience.ts";
export type { CredentialProvider } from "./delivery/credentials.ts";
export type { ManagementApi, PostResult } from "./delivery/management-api.ts";
export type { ApiGatewayOptions } from "./delivery/options.ts";
export { type DeliveryPreview, type DeliveryReport, SendInterruptedError } from "./delivery/report.ts";
export type { AwsCredentials } from "./delivery/sigv4.ts";
export type { ErrorListener } from "./error-reporter.ts";
export {
  ConfigurationError,
  ControlPlaneError,
  DeliveryError,
  type ErrorCode,
  invalid,
  type Reason,
  RefusedError,
  refuse,
  SallyportError,
  StorageError,
} from "./errors.ts";
export { defineGateway, type GatewayDefinition, type GatewayOptions } from "./gateways/definition.ts";
export type { AccessLogOptions, DomainOptions, ThrottlingOptions } from "./gateways/definition-parts.ts";
export { type Gateway, type GatewayRegistration, gatewaySecret } from "./gateways/gateways.ts";
export type { LambdaTarget, OwnTarget, ServiceTarget, Target } from "./gateways/targets.ts";
export type { Access, PermissionObject, UserListFilter } from "./lifecycle/access.ts";
export type { AccessChange, Applied } from "./lifecycle/change-rights.ts";
export type { CleanedUp, CleanupOptions } from "./lifecycle/cleanup.ts";
export type { RuleChange } from "./lifecycle/compare-rules.ts";
export type { AccessQuestion, Explanation, PermissionHolder, Reach } from "./lifecycle/explain.ts";
export type { Health } from "./lifecycle/health.ts";
export type { LimitFilter, LimitsToClear, LimitWindow } from "./lifecycle/limit-windows.ts";
export type { SessionInfo, SessionQuery } from "./lifecycle/list-sessions.ts";
export type { Migrated } from "./lifecycle/migrate.ts";
export type { AccessPreview, ChannelEffect, SessionEffect, UserEffect } from "./lifecycle/preview.ts";
export type { Authenticate, AuthenticatedUser } from "./lifecycle/rooms.ts";
export type { EventEnd, ObservedEvent, Telemetry } from "./lifecycle/telemetry.ts";
export type { ApiKeySelectionExpression } from "./protocol/api-key-source.ts";
export type { HttpAnswer, HttpCall } from "./protocol/http-call.ts";
export { type CloudFormationTemplate, cloudFormationTemplate } from "./provisioning/cloudformation.ts";
export { gatewayPolicies, type PolicyDocument, type PolicyOptions } from "./provisioning/policies.ts";
export { createSallyport, type Sallyport } from "./sallyport.ts";
export type { HeldGrant } from "./sessions/rights-of.ts";
export type { Database } from "./storage/database.ts";
export { changeChannel } from "./view/change-channel.ts";
export {
  type ChannelAuthorizeContext,
  type ChannelAuthorizeManyContext,
  type ChannelDefinition,
  type ChannelOptions,
  type ChannelParams,
  defineChannel,
} from "./view/channel.ts";
export type {
  ConnectContext,
  DisconnectContext,
  MessageContext,
  Outlet,
  SendOptions,
  Session,
  SignedInUser,
  User,
} from "./view/context.ts";
export { type Handler, type HandlerAuthorizeContext, type HandlerOptions, handler } from "./view/handlers.ts";
export type { HandlerLimits, ViewLimits } from "./view/limits.ts";
export { type ViewClass, WebSocketView } from "./view/view.ts";
export type { ViewOptions } from "./view/view-options.ts";
