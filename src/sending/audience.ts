import type { ConnectionSelector } from "../connections/selector.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { optionsOf, parseOptions } from "../options.ts";
import { isName } from "../permissions/grants.ts";
import { RULE_SCHEMAS } from "../permissions/rule-options.ts";
import { compileRule, type Rule } from "../permissions/rules.ts";
import type { Services } from "../services.ts";
import type { MatchedChannel } from "../views/channels.ts";

/** Whom to read, and what each of them must meet beside the rule of its view. */
export interface AudienceQuery {
  readonly audience: Audience;
  readonly selector: ConnectionSelector;
  readonly rules: readonly { readonly what: string; readonly rule: Rule }[];
  readonly hooks: MatchedChannel["authorizeMany"];
}

/** @throws ConfigurationError for a channel that no definition matches, or an audience or requirement that cannot be */
export function buildAudienceQuery(
  services: Services,
  audience: Audience,
  requirement: Requirement,
): AudienceQuery {
  const isKnown = (permission: string) => services.permissions.find(permission) !== undefined;
  const rule = compileRule("to(…)", [parseOptions("to(…)", REQUIREMENT, requirement)], isKnown);
  const required = { what: "this send", rule };
  const plain = (selector: ConnectionSelector): AudienceQuery => ({
    audience,
    selector,
    rules: [required],
    hooks: [],
  });
  if (audience === "everyone") return plain({ kind: "all" });
  // With two keys one of them would not count, and with it perhaps a channel's rule.
  if (typeof audience !== "object" || audience === null || Object.keys(audience).length !== 1) {
    throw noAudience(audience);
  }
  if ("user" in audience) return plain({ kind: "user", userId: text(audience, audience.user) });
  if ("connection" in audience) {
    return plain({ kind: "connection", connectionKey: text(audience, audience.connection) });
  }
  if ("connectionId" in audience) {
    return plain({ kind: "connection-id", connectionId: text(audience, audience.connectionId) });
  }
  if ("permission" in audience) {
    const { permission } = audience;
    const rule = compileRule("to({ permission })", [{ permissionsRequired: [permission] }], isKnown);
    const { rules, ...plan } = plain({ kind: "holders", permission });
    return { ...plan, rules: [...rules, { what: "this send's audience", rule }] };
  }
  if (!("channel" in audience)) throw noAudience(audience);
  const channel =
    typeof audience.channel === "string" ? services.channels.match(audience.channel) : undefined;
  if (!channel) {
    throw new ConfigurationError(
      `to({ channel: ${formatValue(audience.channel)} }): no channel definition matches. Declare it with defineChannel().`,
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

/** Undefined would select nothing and look like an empty audience. */
function text(audience: Audience, id: unknown): string {
  if (isName(id, 255)) return id;
  throw noAudience(audience);
}

function noAudience(audience: unknown): ConfigurationError {
  return new ConfigurationError(
    `to(${formatValue(audience)}): an audience is one of { channel }, { user }, { connection }, { connectionId }, { permission } or "everyone".`,
  );
}
