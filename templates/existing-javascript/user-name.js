/** Returns the name that other users see. Here, each user id is a name. */
export async function nameOf(userId) {
  return userId ?? "anonymous";
}
