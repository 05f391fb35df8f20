import { describeRule } from "../describe-rule.ts";
import { quoted } from "../terminal.ts";
import type { Check, DoctorContext } from "./check.ts";
import { byHand, type Finding, listed, ok, warning } from "./finding.ts";

type Inspection = DoctorContext["inspection"];
type Rule = Inspection["views"][number]["rule"];

const check = (name: string, find: (inspection: Inspection) => readonly Finding[]): Check => ({
  name,
  run: async ({ inspection }) => find(inspection),
});

/** The checks that `--production` adds. What no program can check is `check by hand`. */
export const productionChecks: readonly Check[] = [
  check("settings", checkSettings),
  check("anonymous-access", checkAnonymousAccess),
  check("view-permissions", checkViews),
  check("handler-permissions", checkHandlers),
  check("object-permissions", checkObjects),
  check("channel-access", checkChannels),
  check("handler-names", checkHandlerNames),
  check("error-details", () => [
    byHand(
      "A denied client receives a reference and no details. The text of badRequest() and the results of handlers are sent to clients.",
      "Check that no text of badRequest() and no result contains what a client must not read.",
    ),
  ]),
  check("tests", () => [
    byHand(
      "Tests must cover users who are allowed, users who are denied, and permissions that end while a client is connected.",
      "Test with sallyport/testing, see docs/guides/testing.md.",
    ),
  ]),
];

function checkSettings({ settings, disabledLimits }: Inspection): readonly Finding[] {
  const findings: Finding[] = [];
  const { NODE_ENV } = process.env;
  if (NODE_ENV !== "production") {
    findings.push(
      warning(
        `NODE_ENV is ${NODE_ENV ? quoted(NODE_ENV) : "not set"}. Many frameworks then send details of errors to clients.`,
        "Run doctor in the environment of the server, with NODE_ENV=production.",
      ),
    );
  }
  if (settings.gatewayAuth === "none") {
    findings.push(
      warning(
        'gatewayAuth is "none", so the app accepts events of any caller that sends the id of a registered API.',
        'Set gatewayAuth: "secret", unless only the gateway can reach the app.',
      ),
    );
  }
  if (disabledLimits.length > 0) {
    findings.push(
      warning(
        `Limits are turned off: ${listed(disabledLimits)}.`,
        "Set each limit to a number, see docs/reference/limits.md.",
      ),
    );
  }
  return findings.length > 0
    ? findings
    : [ok("NODE_ENV is production, gateways send a secret, and each limit is set.")];
}

const hasPermission = ({ anyOf, allOf }: Rule) => anyOf.length + allOf.length > 0;

function checkAnonymousAccess({ views, channels }: Inspection): readonly Finding[] {
  const open = [
    ...views.filter(({ rule }) => !rule.signedIn).map(({ path, name }) => `${path} (${name})`),
    ...channels
      .filter(({ rule, hasAuthorize }) => !rule.signedIn && !hasAuthorize)
      .map(({ pattern }) => `channel ${pattern}`),
  ];
  if (open.length === 0) return [ok("Each view requires a token of a signed-in user.")];
  return [
    warning(
      `Clients without a user can access: ${listed(open)}.`,
      "Remove allowAnonymous where clients must sign in.",
    ),
  ];
}

function checkViews({ views }: Inspection): readonly Finding[] {
  const rules = views.map(({ path, rule }) => `${path} needs ${describeRule(rule)}`);
  if (views.every(({ rule }) => hasPermission(rule))) return [ok(`${listed(rules)}.`)];
  return [
    byHand(
      `Some views need no permission: ${listed(rules)}.`,
      "Set static permissionsRequired, unless every signed-in user can use the view.",
    ),
  ];
}

function checkHandlers({ views }: Inspection): readonly Finding[] {
  const without = handlersOf(views, ({ rule }) => !hasPermission(rule));
  if (without.length === 0) return [ok("Each handler needs a permission of its own.")];
  return [
    byHand(
      `Every user of the view can call: ${listed(without)}.`,
      "Set permissionsRequired of the handlers that fewer users can call.",
    ),
  ];
}

function checkObjects({ views, channels }: Inspection): readonly Finding[] {
  const without = [
    ...handlersOf(views, ({ hasAuthorize }) => !hasAuthorize),
    ...channels
      .filter(({ pattern, hasAuthorize }) => pattern.includes(":") && !hasAuthorize)
      .map(({ pattern }) => `channel ${pattern}`),
  ];
  if (without.length === 0) return [ok("Each handler, and each channel with a parameter, has authorize.")];
  return [
    byHand(
      `No authorize function checks the object of: ${listed(without)}.`,
      "Add authorize, or check the object in the handler, where a user can access only some objects.",
    ),
  ];
}

function checkChannels({ channels }: Inspection): readonly Finding[] {
  if (channels.length === 0) return [ok("The app declares no channel, so no client can join one.")];
  const rules = channels.map(
    ({ pattern, rule, hasAuthorize }) => `${pattern} needs ${describeRule(rule, hasAuthorize)}`,
  );
  return [ok(`The server checks the channel at each join and each delivery: ${listed(rules)}.`)];
}

function checkHandlerNames({ views }: Inspection): readonly Finding[] {
  const names = handlersOf(views, () => true);
  if (names.length === 0) return [ok("Clients can call no handler.")];
  return [
    byHand(
      `Clients can call: ${listed(names)}.`,
      "Move a handler that no client must call out of the view, or leave it out of allowedHandlers.",
    ),
  ];
}

type View = Inspection["views"][number];

function handlersOf(
  views: readonly View[],
  selects: (handler: View["handlers"][number]) => boolean,
): readonly string[] {
  return views.flatMap(({ name, handlers }) =>
    handlers.filter(selects).map((handler) => `${name}.${handler.name}`),
  );
}
