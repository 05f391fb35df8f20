/** Reads the body of every request, as a proxy that logs or checks bodies does. */
export async function proxy(request: Request): Promise<void> {
  await request.text();
}
