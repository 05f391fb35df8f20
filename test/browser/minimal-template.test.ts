import { test } from "vitest";
import { liveFirstHour, missingBrowser } from "../templates/first-hour.ts";

// `npm run test:matrix` does the same with the other templates.
test.skipIf(missingBrowser)("an app of the template minimal is created, started and used in a browser", () =>
  liveFirstHour("minimal"),
);
