/** Reads what comes to any path, as a proxy that logs or checks bodies does. */
export async function proxy(request: Request): Promise<void> {
  await request.text();
}
