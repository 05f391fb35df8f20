import { ConfigurationError, malformed, RefusedError } from "../errors.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import type { ChannelAuthorizeContext, ChannelDefinition } from "../view/channel.ts";
import type { User } from "../view/context.ts";
import type { PermissionCatalog } from "./permissions.ts";
import { compileRule, judgeAll, type Rule, type Subject } from "./rules.ts";
import { refusedBy } from "./user.ts";

interface CompiledChannel {
  readonly definition: ChannelDefinition;
  readonly rule: Rule;
  readonly sendRule: Rule;
  readonly authorize: ((context: ChannelAuthorizeContext) => boolean | Promise<boolean>) | undefined;
}

/** One name with every definition that it matches. */
export interface MatchedChannel {
  readonly name: string;
  /** All of them must hold for whoever is in the channel. */
  readonly rules: readonly Rule[];
  /** All of them must hold for whoever sends to it on a user's behalf, on top of `rules`. */
  readonly sendRules: readonly Rule[];
  /** The hooks about the data itself, in the order of declaration. */
  readonly authorize: readonly ((user: User) => boolean | Promise<boolean>)[];
}

/** The declared channels. A name that no definition matches does not exist. */
export class Channels {
  readonly #channels: readonly CompiledChannel[];

  /** @throws ConfigurationError for a rule that cannot be, or a pattern declared twice */
  constructor(definitions: readonly ChannelDefinition[], catalog: PermissionCatalog) {
    const patterns = new Set<string>();
    this.#channels = definitions.map((definition) => {
      const { pattern, options } = definition;
      const owner = `channel "${pattern}"`;
      if (patterns.has(pattern)) throw new ConfigurationError(`${owner} is declared twice. Merge the two.`);
      patterns.add(pattern);
      const isKnown = (permission: string) => catalog.find(permission) !== undefined;
      return {
        definition,
        rule: compileRule(owner, [options], isKnown),
        sendRule: compileRule(
          `${owner} sendRequired`,
          [{ permissionsRequired: options.sendRequired }],
          isKnown,
        ),
        authorize: options.authorize as CompiledChannel["authorize"],
      };
    });
  }

  /** Every definition that the name matches, or undefined when none does. */
  match(name: string): MatchedChannel | undefined {
    const matches = this.#channels.flatMap((channel) => {
      const params = channel.definition.match(name);
      return params ? [{ ...channel, params }] : [];
    });
    if (matches.length === 0) return undefined;
    return {
      name,
      rules: matches.map(({ rule }) => rule),
      sendRules: matches.map(({ sendRule }) => sendRule),
      authorize: matches.flatMap(({ authorize, params }) =>
        authorize ? [(user: User) => authorize({ user, params, channel: name })] : [],
      ),
    };
  }

  /**
   * The definitions of a name as a peer sent it.
   *
   * @throws RefusedError with 400 for a name that no channel can have, 403 for one that no definition matches
   */
  require(name: string): MatchedChannel {
    checkChannelName(name);
    const matched = this.match(name);
    if (!matched) throw new RefusedError(`No channel definition matches "${name}".`, { reason: "channel" });
    return matched;
  }
}

/** @throws RefusedError with 400 for what no channel can be called */
export function checkChannelName(name: unknown): asserts name is string {
  if (typeof name === "string" && isChannelName(name)) return;
  throw malformed(
    `${(JSON.stringify(name) ?? "undefined").slice(0, 200)} is no channel name.`,
    "Bad channel name.",
  );
}

/** Every matching rule, by rights alone. @throws RefusedError */
export function checkChannelRules(channel: MatchedChannel, subject: Subject): void {
  const verdict = judgeAll(channel.rules, subject);
  if (!verdict.allowed) throw refusedBy(verdict, `channel "${channel.name}"`);
}

/** What a sender needs on top. @throws RefusedError */
export function checkSendRules(channel: MatchedChannel, subject: Subject): void {
  const verdict = judgeAll(channel.sendRules, subject);
  if (!verdict.allowed) throw refusedBy(verdict, `sending to channel "${channel.name}"`);
}

/** The author's word about the data itself. @throws RefusedError unless every hook says `true` */
export async function authorizeChannel(channel: MatchedChannel, user: User): Promise<void> {
  for (const authorize of channel.authorize) {
    if ((await authorize(user)) !== true) {
      throw new RefusedError(`authorize of channel "${channel.name}" said no.`, { reason: "authorize" });
    }
  }
}
