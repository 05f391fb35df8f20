import type { TestProject } from "vitest/node";
import { startServer } from "../../bench/src/postgres-server.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Connection string of the PostgreSQL that the project's tests run on. */
    postgres: string;
  }
}

/** One server for a project's whole run. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer();
  project.provide("postgres", server.url);
  return () => server.stop();
}
