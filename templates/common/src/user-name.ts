/** Returns the name that other users see. Here, each user id is a name. */
export async function nameOf(userId: string | undefined): Promise<string> {
  return userId ?? "anonymous";
}
