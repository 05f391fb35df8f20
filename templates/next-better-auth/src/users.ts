/** Reads accounts by their id or e-mail address. */
export async function accountsBy(column: "id" | "email", values: readonly string[]) {
  // That module imports the Sallyport object, which imports this one.
  const { pool } = await import("./auth.ts");
  const text = `select id, email from "user" where ${column} = any($1)`;
  return (await pool.query<{ id: string; email: string }>(text, [values])).rows;
}
