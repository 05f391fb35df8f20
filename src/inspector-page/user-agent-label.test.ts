import { expect, test } from "vitest";
import { userAgentLabel } from "./user-agent-label.ts";

const WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)";

test.each([
  [`Mozilla/5.0 (X11; Linux x86_64) ${WEBKIT} Chrome/156.0.0.0 Safari/537.36`, "Chrome 156, Linux"],
  [`Mozilla/5.0 (X11; Linux x86_64) ${WEBKIT} HeadlessChrome/156.0.0.0 Safari/537.36`, "Chrome 156, Linux"],
  [`Mozilla/5.0 (Linux; Android 15) ${WEBKIT} Chrome/156.0.0.0 Mobile Safari/537.36`, "Chrome 156, Android"],
  [
    `Mozilla/5.0 (Windows NT 10.0) ${WEBKIT} Chrome/156.0.0.0 Safari/537.36 Edg/155.0.0.0`,
    "Edge 155, Windows",
  ],
  [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15.1) AppleWebKit/605 Version/18.1 Safari/605",
    "Safari 18, macOS",
  ],
  [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605 Version/18.1 Safari/604",
    "Safari 18, iOS",
  ],
  ["Mozilla/5.0 (X11; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140"],
  ["Mozilla/5.0 (unknown)", "Mozilla/5.0 (unknown)"],
  ["node", "node"],
  ["", ""],
])("shortens %j to %j", (userAgent, label) => {
  expect(userAgentLabel(userAgent)).toBe(label);
});
