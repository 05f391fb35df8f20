import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { functionOption, optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import {
  permissionList,
  RULE_SCHEMAS,
  type RuleDeclaration,
  statesRule,
} from "../permissions/rule-options.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import type { User } from "./context.ts";

/** `{ slug: string }` for `rooms/:slug`. */
export type ChannelParams<Pattern extends string> = Pattern extends `${string}:${infer Rest}`
  ? Rest extends `${infer Name}/${infer Tail}`
    ? { readonly [Key in Name | keyof ChannelParams<`/${Tail}`>]: string }
    : { readonly [Key in Rest]: string }
  : Readonly<Record<never, string>>;

/** What `authorize` of a channel is asked with. */
export interface ChannelAuthorizeContext<Params = Readonly<Record<string, string>>> {
  readonly user: User;
  readonly params: Params;
  /** The whole name, such as `rooms/general`. */
  readonly channel: string;
}

/** What `authorizeMany` of a channel is asked with. */
export interface ChannelAuthorizeManyContext<Params = Readonly<Record<string, string>>> {
  /** At most 500 users, each once, whom the rules let have what is being sent. */
  readonly userIds: readonly string[];
  readonly params: Params;
  /** The whole name, such as `rooms/general`. */
  readonly channel: string;
}

type Authorize<Params> = (context: ChannelAuthorizeContext<Params>) => boolean | Promise<boolean>;
type AuthorizeMany<Params> = (
  context: ChannelAuthorizeManyContext<Params>,
) => Iterable<string> | Promise<Iterable<string>>;

/** Who may be in a channel and who may send to it. */
export interface ChannelOptions<Params> extends RuleDeclaration {
  /** What a sender must hold on top of the channel's rule: ANY of these. Default: the rule suffices. */
  readonly sendRequired?: readonly Permission[] | undefined;
  /** Asked last, about the data itself: "is this user a member of this room?" Anything but `true` refuses. */
  readonly authorize?: Authorize<Params> | undefined;
  /**
   * Asked once for each page of a send's recipients: gives those of the users who may have it, as one query of yours can
   * tell. Nobody else gets it, nor does somebody who has not signed in; when it fails, nobody of that page. Without an
   * `authorize`, it is asked about joining users as well.
   */
  readonly authorizeMany?: AuthorizeMany<Params> | undefined;
}

/** A kind of channel. Made by {@link defineChannel}. */
export interface ChannelDefinition {
  readonly pattern: string;
  readonly options: ChannelOptions<never>;
  /** The parameters in a name that matches, or undefined. */
  match(name: string): Readonly<Record<string, string>> | undefined;
}

const CHANNEL_OPTIONS = optionsOf<ChannelOptions<never>>()({
  ...RULE_SCHEMAS,
  sendRequired: v.exactOptional(permissionList),
  authorize: v.exactOptional(functionOption<Authorize<never>>("that returns true or false")),
  authorizeMany: v.exactOptional(
    functionOption<AuthorizeMany<never>>("that returns the user ids that may receive"),
  ),
});

/**
 * Declares a kind of channel. A name that no definition matches is refused; where several match, all their
 * rules must hold.
 *
 * @param pattern a channel name in which `:name` stands for one part, as in `rooms/:slug`; after a prefix as in
 *   `room_:id` for the rest of its part
 * @throws ConfigurationError for a bad pattern, or when nothing says who may be in it
 */
export function defineChannel<const Pattern extends string>(
  pattern: Pattern,
  options: ChannelOptions<ChannelParams<Pattern>>,
): ChannelDefinition {
  if (typeof pattern !== "string") {
    throw new ConfigurationError(
      `defineChannel() expects a pattern such as "rooms/:slug" and options, but received ${formatValue(pattern)} as the pattern.`,
    );
  }
  const owner = `channel "${pattern}"`;
  const parts = pattern.split("/");
  const names: string[] = [];
  const sources = parts.map((part) => {
    const [, prefix, parameter] = /^([A-Za-z0-9_-]*)(?::([A-Za-z][A-Za-z0-9_]*))?$/.exec(part) ?? [];
    if (part === "" || prefix === undefined) {
      throw new ConfigurationError(
        `${owner}: "${part}" cannot be a part of a channel's name. Use letters, digits, _ and -, or :name.`,
      );
    }
    if (parameter === undefined) return prefix;
    if (names.includes(parameter)) throw new ConfigurationError(`${owner} names :${parameter} twice.`);
    names.push(parameter);
    return `${prefix}([A-Za-z0-9_-]+)`;
  });
  const valid = parseOptions(owner, CHANNEL_OPTIONS, options);
  if (!statesRule(valid) && !valid.authorize && !valid.authorizeMany) {
    throw new ConfigurationError(
      `${owner} has no rule. Add permissionsRequired, allPermissionsRequired, authorize, authorizeMany, signedIn: true or ` +
        "allowAnonymous: true.",
    );
  }
  const expression = new RegExp(`^${sources.join("/")}$`);
  const definition: ChannelDefinition = Object.freeze({
    pattern,
    options: Object.freeze(valid),
    match(name: string) {
      const found = isChannelName(name) ? expression.exec(name) : null;
      if (!found) return undefined;
      // Remembered for the name, and shown to every hook.
      return Object.freeze(
        Object.fromEntries(names.map((parameter, index) => [parameter, found[index + 1] ?? ""])),
      );
    },
  });
  DEFINED.add(definition);
  return definition;
}

const DEFINED = new WeakSet<object>();

/** Returns true for what {@link defineChannel} of this copy of the package returned: its options have been checked. */
export function isChannelDefinition(value: unknown): boolean {
  return DEFINED.has(value as object);
}
