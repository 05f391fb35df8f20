/** Creates the tables of better-auth when the server starts. */
export async function register(): Promise<void> {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const { getMigrations } = await import("better-auth/db/migration");
  const { auth } = await import("./src/auth.ts");
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
}
