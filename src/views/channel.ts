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

/** The parameters of a pattern, such as `{ slug: string }` for `rooms/:slug`. */
export type ChannelParams<Pattern extends string> = Pattern extends `${string}:${infer Rest}`
  ? Rest extends `${infer Name}/${infer Tail}`
    ? { readonly [Key in Name | keyof ChannelParams<`/${Tail}`>]: string }
    : { readonly [Key in Rest]: string }
  : Readonly<Record<never, string>>;

/** The argument of `authorize` of a channel. */
export interface ChannelAuthorizeContext<Params = Readonly<Record<string, string>>> {
  readonly user: User;
  /** The values of the parameters of the pattern. */
  readonly params: Params;
  /** The name of the channel, such as `rooms/general`. */
  readonly channel: string;
}

/** The argument of `authorizeMany` of a channel. */
export interface ChannelAuthorizeManyContext<Params = Readonly<Record<string, string>>> {
  /** At most 500 distinct user ids. The users satisfy the rules of the channel. */
  readonly userIds: readonly string[];
  /** The values of the parameters of the pattern. */
  readonly params: Params;
  /** The name of the channel, such as `rooms/general`. */
  readonly channel: string;
}

type Authorize<Params> = (context: ChannelAuthorizeContext<Params>) => boolean | Promise<boolean>;
type AuthorizeMany<Params> = (
  context: ChannelAuthorizeManyContext<Params>,
) => Iterable<string> | Promise<Iterable<string>>;

/** Which users are allowed to join a channel and to send to it. */
export interface ChannelOptions<Params> extends RuleDeclaration {
  /**
   * The user must have at least one of these permissions to send. Default: the rule is sufficient.
   */
  readonly sendRequired?: readonly Permission[] | undefined;
  /**
   * Checks data of the app after the rule, for example whether the user is a member of the room.
   * Any result other than `true` denies the user.
   */
  readonly authorize?: Authorize<Params> | undefined;
  /**
   * Returns the ids of the users who are allowed to receive a message. It is called once for each
   * page of recipients, so that one query is enough.
   *
   * Other users and anonymous users do not receive the message. If it fails, no user of the page
   * receives it. Without `authorize`, it is also called when a user joins.
   */
  readonly authorizeMany?: AuthorizeMany<Params> | undefined;
}

/** The definition of one or more channels. {@link defineChannel} returns it. */
export interface ChannelDefinition {
  readonly pattern: string;
  readonly options: ChannelOptions<never>;
  /** Returns the parameters of a name, or undefined if the name does not match. */
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
 * Declares the channels that match a pattern.
 *
 * A name that no definition matches is denied. If several definitions match, all their rules apply.
 *
 * @param pattern a channel name with parameters. `:name` matches a segment, as in `rooms/:slug`, or
 *   the rest of a segment, as in `room_:id`
 * @param options the rule of the channel. At least a permission, `authorize`, `authorizeMany`,
 *   `signedIn` or `allowAnonymous`
 * @throws ConfigurationError for an invalid pattern or option, or a missing rule
 */
export function defineChannel<const Pattern extends string>(
  pattern: Pattern,
  options: ChannelOptions<ChannelParams<Pattern>>,
): ChannelDefinition {
  if (typeof pattern !== "string") {
    throw new ConfigurationError(
      `defineChannel(): the pattern must be a string, but received ${formatValue(pattern)}. ` +
        'Write defineChannel("rooms/:slug", { … }).',
    );
  }
  const owner = `channel "${pattern}"`;
  const parts = pattern.split("/");
  const names: string[] = [];
  const sources = parts.map((part) => {
    const [, prefix, parameter] = /^([A-Za-z0-9_-]*)(?::([A-Za-z][A-Za-z0-9_]*))?$/.exec(part) ?? [];
    if (part === "" || prefix === undefined) {
      throw new ConfigurationError(
        `${owner}: "${part}" cannot be a segment of a channel name. Use letters, digits, _ and -, or :name.`,
      );
    }
    if (parameter === undefined) return prefix;
    if (names.includes(parameter)) {
      throw new ConfigurationError(
        `${owner} contains :${parameter} twice. Use a different name for each parameter.`,
      );
    }
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
      // Frozen, because it is cached for the name and passed to every hook.
      return Object.freeze(
        Object.fromEntries(names.map((parameter, index) => [parameter, found[index + 1] ?? ""])),
      );
    },
  });
  DEFINED.add(definition);
  return definition;
}

const DEFINED = new WeakSet<object>();

/** Returns whether {@link defineChannel} of this copy of the package returned the value. */
export function isChannelDefinition(value: unknown): boolean {
  return DEFINED.has(value as object);
}
