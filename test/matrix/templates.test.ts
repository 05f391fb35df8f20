import { test } from "vitest";
import { liveFirstHour, missingBrowser, signInByName, signUpByEmail } from "../templates/first-hour.ts";

// test/browser/minimal-template.test.ts does the same with the template minimal.
test.skipIf(missingBrowser).each([
  ["fastify-sqlite", signInByName],
  ["express-postgres-react", signInByName],
  ["hono-lambda", signInByName],
  ["next-better-auth", signUpByEmail],
] as const)("an app of the template %s is created, started and used in a browser", (template, signIn) =>
  liveFirstHour(template, signIn),
);
