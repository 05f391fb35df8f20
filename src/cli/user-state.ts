/** Returns the state of a user, such as `active, superuser`. */
export function stateOf(user: { readonly isActive: boolean; readonly isSuperuser: boolean }): string {
  return [user.isActive ? "active" : "inactive", ...(user.isSuperuser ? ["superuser"] : [])].join(", ");
}
