export type { Access } from "./admin/access.ts";
export type { AccessAudit } from "./admin/audit.ts";
export type { AccessChange, ChangeResult, EndedAccess } from "./admin/change.ts";
export type { CleanupOptions, CleanupResult } from "./admin/cleanup.ts";
export type { RuleChange } from "./admin/compare-rules.ts";
export type { ConnectionInfo, ConnectionQuery } from "./admin/connections.ts";
export type { AccessQuestion, Explanation, UserAccess, UserWithPermission } from "./admin/explain.ts";
export type { AccessGroups } from "./admin/groups.ts";
export type { Health } from "./admin/health.ts";
export type { LimitFilter, LimitsToClear, LimitWindow } from "./admin/limit-windows.ts";
export type { AccessLimits } from "./admin/limits.ts";
export type { MigrationResult } from "./admin/migrate.ts";
export type { AccessPermissions } from "./admin/permissions.ts";
export type { AccessPreview, ChannelEffect, ConnectionEffect, UserEffect } from "./admin/preview.ts";
export type { AccessUsers, PermissionObject, UserListFilter } from "./admin/users.ts";
export type { AuditFilter } from "./audit/audit-log.ts";
export type { Decision, DecisionStep } from "./audit/decision.ts";
export type { DecisionFilter, DecisionLogOptions } from "./audit/decision-log.ts";
export type { EventInfo, EventOutcome, Telemetry } from "./audit/events.ts";
export { formatDenial } from "./audit/log-lines.ts";
export type { EndedSessionsOptions } from "./auth/ended-sessions.ts";
export type { GatewayRegistration } from "./auth/gateways.ts";
export type { Limits } from "./auth/limits.ts";
export type { OriginCheck } from "./auth/origins.ts";
export type { GatewayDefinition } from "./aws/define-gateway.ts";
export type { SallyportOptions, TokenOptions, UserDirectory } from "./config.ts";
export type { Audience, Requirement } from "./delivery/audience.ts";
export type { CredentialProvider } from "./delivery/credentials.ts";
export type { ManagementApi, PostResult } from "./delivery/management-api.ts";
export type { ApiGatewayOptions } from "./delivery/options.ts";
export { type DeliveryPreview, type DeliveryReport, SendInterruptedError } from "./delivery/report.ts";
export type { AwsCredentials } from "./delivery/sigv4.ts";
export type { ErrorListener } from "./error-reporter.ts";
export {
  badRequest,
  ConfigurationError,
  DeliveryError,
  type ErrorCode,
  forbidden,
  ProvisioningError,
  type Reason,
  RequestError,
  SallyportError,
  StorageError,
} from "./errors.ts";
export {
  definePermissions,
  modelPermissions,
  type Permission,
  type PermissionSet,
} from "./permissions/define.ts";
export type { ChangeOptions, GrantOptions } from "./permissions/grants.ts";
export type { Rule } from "./permissions/rules.ts";
export type { PermissionInfo } from "./permissions/stored-permissions.ts";
export { createSallyport, type Sallyport } from "./sallyport.ts";
export type { Authenticate, AuthenticatedUser } from "./services.ts";
export type { Storage } from "./storage/store.ts";
export type { AuditAction, AuditEntry } from "./storage/stores/audit.ts";
export type { Gateway } from "./storage/stores/gateways.ts";
export type {
  EffectiveGrant,
  GroupDetails,
  PermissionHolder,
  UserDetails,
  UserFilter,
  UserSummary,
} from "./storage/stores/users.ts";
export {
  type ChannelAuthorizeContext,
  type ChannelAuthorizeManyContext,
  type ChannelDefinition,
  type ChannelOptions,
  type ChannelParams,
  defineChannel,
} from "./views/channel.ts";
export type {
  ConnectContext,
  Connection,
  DisconnectContext,
  MessageContext,
  Sender,
  SendOptions,
  SignedInUser,
  User,
} from "./views/context.ts";
export {
  changeChannel,
  type Handler,
  type HandlerAuthorizeContext,
  type HandlerOptions,
  handler,
} from "./views/handler.ts";
export type { HandlerLimits, ViewLimits } from "./views/limits.ts";
export { type ViewClass, WebSocketView } from "./views/view.ts";
export type { ViewOptions } from "./views/view-options.ts";
