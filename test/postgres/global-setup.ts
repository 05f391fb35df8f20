import type { TestProject } from "vitest/node";
import { startServer } from "../../bench/src/postgres-server.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** The connection string of the PostgreSQL server that the tests of the project use. */
    postgres: string;
  }
}

/** Starts one server for all tests of a project. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer();
  project.provide("postgres", server.url);
  return () => server.stop();
}
