import type { Permission } from "../permissions/define.ts";

/**
 * The recipients of a send.
 *
 * `connection` is Sallyport's id of a connection. `connectionId` is the id of API Gateway.
 * `permission` selects the users who have the permission now, also through groups, and active
 * superusers.
 */
export type Audience =
  | { readonly channel: string }
  | { readonly user: string }
  | { readonly connection: string }
  | { readonly connectionId: string }
  | { readonly permission: Permission }
  | "everyone";

/** The permissions that a recipient needs in addition to the rules of its view and the channel. */
export interface Requirement {
  /** The recipient needs at least one of these permissions. */
  readonly permissionsRequired?: readonly Permission[];
  /** The recipient needs all of these permissions. */
  readonly allPermissionsRequired?: readonly Permission[];
}
