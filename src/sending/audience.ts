import type { MatchedChannel } from "../access/channels.ts";
import { isName } from "../access/grants.ts";
import { compileRule, type Rule } from "../access/rules.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { optionsOf, parseOptions } from "../options.ts";
import type { SessionSelector } from "../sessions/session-selector.ts";
import { RULE_SCHEMAS } from "../view/rule.ts";
import type { Rooms } from "./rooms.ts";

/** Whom to read, and what each of them must meet beside the rule of its view. */
export interface Plan {
  readonly audience: Audience;
  readonly selector: SessionSelector;
  readonly rules: readonly { readonly what: string; readonly rule: Rule }[];
  readonly hooks: MatchedChannel["authorizeMany"];
}

/** @throws ConfigurationError for a channel that no definition matches, or an audience or requirement that cannot be */
export function planOf(rooms: Rooms, audience: Audience, requirement: Requirement): Plan {
  const isKnown = (permission: string) => rooms.permissions.find(permission) !== undefined;
  const rule = compileRule("to(…)", [parseOptions("to(…)", REQUIREMENT, requirement)], isKnown);
  const required = { what: "this send", rule };
  const plain = (selector: SessionSelector): Plan => ({ audience, selector, rules: [required], hooks: [] });
  if (audience === "everyone") return plain({ kind: "all" });
  // With two keys one of them would not count, and with it perhaps a channel's rule.
  if (typeof audience !== "object" || audience === null || Object.keys(audience).length !== 1) {
    throw noAudience(audience);
  }
  if ("user" in audience) return plain({ kind: "user", userId: text(audience, audience.user) });
  if ("session" in audience) return plain({ kind: "session", sessionId: text(audience, audience.session) });
  if ("connection" in audience) {
    return plain({ kind: "connection", connectionId: text(audience, audience.connection) });
  }
  if ("permission" in audience) {
    const { permission } = audience;
    const rule = compileRule("to({ permission })", [{ permissionsRequired: [permission] }], isKnown);
    const { rules, ...plan } = plain({ kind: "holders", permission });
    return { ...plan, rules: [...rules, { what: "this send's audience", rule }] };
  }
  if (!("channel" in audience)) throw noAudience(audience);
  const channel = typeof audience.channel === "string" ? rooms.channels.match(audience.channel) : undefined;
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
    `to(${formatValue(audience)}): an audience is one of { channel }, { user }, { session }, { connection }, { permission } or "everyone".`,
  );
}
