import type { Audience, Requirement } from "../delivery/audience.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { optionsOf, parseOptions } from "../options.ts";
import { isName } from "../permissions/grants.ts";
import { RULE_SCHEMAS } from "../permissions/rule-options.ts";
import { compileRule, type Rule } from "../permissions/rules.ts";
import type { SendingServices } from "../services.ts";
import type { ConnectionSelector } from "../storage/stores/connections.ts";
import type { MatchedChannel } from "../views/channels.ts";

/**
 * The connections to read, and the rules that each must meet in addition to the rule of its view.
 */
export interface AudienceQuery {
  readonly audience: Audience;
  readonly selector: ConnectionSelector;
  readonly rules: readonly { readonly what: string; readonly rule: Rule }[];
  readonly hooks: MatchedChannel["authorizeMany"];
}

/**
 * Builds the query for an audience, with the rules and hooks of the recipients.
 *
 * @throws ConfigurationError if no definition matches the channel, or the audience or the
 *   requirement is invalid
 */
export function buildAudienceQuery(
  services: SendingServices,
  audience: Audience,
  requirement: Requirement,
): AudienceQuery {
  const isKnown = (permission: string) => services.definitions.permissions.find(permission) !== undefined;
  const rule = compileRule("to(…)", [parseOptions("to(…)", REQUIREMENT, requirement)], isKnown);
  const required = { what: "this send", rule };
  const queryOf = (selector: ConnectionSelector): AudienceQuery => ({
    audience,
    selector,
    rules: [required],
    hooks: [],
  });
  if (audience === "everyone") return queryOf({ kind: "all" });
  // With two keys, one of them would be ignored, and with it possibly the rules of a channel.
  if (typeof audience !== "object" || audience === null || Object.keys(audience).length !== 1) {
    throw invalidAudience(audience);
  }
  if ("user" in audience) return queryOf({ kind: "user", userId: idOf(audience, audience.user) });
  if ("connection" in audience) {
    return queryOf({ kind: "connection", connectionKey: idOf(audience, audience.connection) });
  }
  if ("connectionId" in audience) {
    return queryOf({ kind: "connection-id", connectionId: idOf(audience, audience.connectionId) });
  }
  if ("permission" in audience) {
    const { permission } = audience;
    const rule = compileRule("to({ permission })", [{ permissionsRequired: [permission] }], isKnown);
    const { rules, ...query } = queryOf({ kind: "holders", permission });
    return { ...query, rules: [...rules, { what: "this send's audience", rule }] };
  }
  if (!("channel" in audience)) throw invalidAudience(audience);
  const channel =
    typeof audience.channel === "string" ? services.definitions.channels.match(audience.channel) : undefined;
  if (!channel) {
    throw new ConfigurationError(
      `to({ channel: ${formatValue(audience.channel)} }): no channel definition matches. Declare the channel with defineChannel().`,
      { code: "SALLYPORT_UNKNOWN_NAME" },
    );
  }
  const what = `channel "${channel.name}"`;
  return {
    audience,
    selector: { kind: "channel", channel: channel.name },
    rules: [required, ...channel.rules.map((rule) => ({ what, rule }))],
    hooks: channel.authorizeMany,
  };
}

const REQUIREMENT = optionsOf<Requirement>()({
  permissionsRequired: RULE_SCHEMAS.permissionsRequired,
  allPermissionsRequired: RULE_SCHEMAS.allPermissionsRequired,
});

/** Checks an id. An undefined id would select no connection, like an empty audience. */
function idOf(audience: Audience, id: unknown): string {
  if (isName(id, 255)) return id;
  throw invalidAudience(audience);
}

function invalidAudience(audience: unknown): ConfigurationError {
  return new ConfigurationError(
    `to(${formatValue(audience)}): the audience is invalid. Pass one of { channel }, { user }, { connection }, ` +
      '{ connectionId }, { permission } or "everyone".',
  );
}
