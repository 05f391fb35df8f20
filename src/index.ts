export type { Decision } from "./access/decisions.ts";
export { definePermissions, type Permission, type PermissionSet } from "./access/permissions.ts";
export type { Limits } from "./access/rate-limits.ts";
export type { GrantOptions, Holder, UserRights } from "./access/rights.ts";
export type { Audience, Requirement } from "./delivery/audience.ts";
export type { DeliveryReport } from "./delivery/delivery.ts";
export {
  ConfigurationError,
  DeliveryError,
  type ErrorCode,
  invalid,
  type Reason,
  RefusedError,
  refuse,
  SallyportError,
  StorageError,
} from "./errors.ts";
export { type Gateway, type GatewayRegistration, gatewaySecret } from "./gateways/gateways.ts";
export type { Access } from "./lifecycle/change-rights.ts";
export type { Identify, Identity } from "./lifecycle/rooms.ts";
export { createSallyport, type Sallyport, type SallyportOptions, type UserDirectory } from "./sallyport.ts";
export type { Database } from "./storage/database.ts";
export { changeChannel } from "./view/change-channel.ts";
export {
  type ChannelAuthorizeContext,
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
  Session,
  SignedInUser,
  User,
} from "./view/context.ts";
export { type Handler, type HandlerAuthorizeContext, type HandlerOptions, handler } from "./view/handlers.ts";
export { type ViewClass, WebSocketView } from "./view/view.ts";
