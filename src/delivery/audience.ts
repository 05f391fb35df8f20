import type { Permission } from "../access/permissions.ts";

/**
 * Whom a send is for. `permission` means everyone who holds it now, through groups too, active superusers included;
 * `session` is our row's id, `connection` API Gateway's.
 */
export type Audience =
  | { readonly channel: string }
  | { readonly user: string }
  | { readonly session: string }
  | { readonly connection: string }
  | { readonly permission: Permission }
  | "everyone";

/** What a recipient must hold on top of its view's and the channel's rule. */
export interface Requirement {
  /** ANY of these. */
  readonly permissionsRequired?: readonly Permission[];
  /** ALL of these. */
  readonly allPermissionsRequired?: readonly Permission[];
}
