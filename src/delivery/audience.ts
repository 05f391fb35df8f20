import type { Permission } from "../permissions/define.ts";

/**
 * The recipients of a send. `connection` is Sallyport's id of a connection, and `connectionId` is the one of API Gateway. `permission`
 * selects the users who have it now, also through groups, and active superusers.
 */
export type Audience =
  | { readonly channel: string }
  | { readonly user: string }
  | { readonly connection: string }
  | { readonly connectionId: string }
  | { readonly permission: Permission }
  | "everyone";

/** What a recipient must hold on top of its view's and the channel's rule. */
export interface Requirement {
  /** ANY of these. */
  readonly permissionsRequired?: readonly Permission[];
  /** ALL of these. */
  readonly allPermissionsRequired?: readonly Permission[];
}
