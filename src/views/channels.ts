import { ConfigurationError, malformed, RefusedError } from "../errors.ts";
import type { PermissionCatalog } from "../permissions/define.ts";
import { compileRule, type Rule } from "../permissions/rules.ts";
import { isChannelName } from "../protocol/channel-name.ts";
import type { ChannelAuthorizeContext, ChannelDefinition, ChannelOptions } from "./channel.ts";
import type { User } from "./context.ts";

interface CompiledChannel {
  readonly definition: ChannelDefinition;
  readonly rule: Rule;
  readonly sendRule: Rule;
  readonly authorize: ((context: ChannelAuthorizeContext) => boolean | Promise<boolean>) | undefined;
  readonly authorizeMany: ChannelOptions<Readonly<Record<string, string>>>["authorizeMany"];
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
  /** The same for a page of users, of whom each returns those that it allows. An `authorizeMany` is called once for all of them. */
  readonly authorizeAll: readonly ((users: readonly User[]) => Promise<readonly User[]>)[];
  /** Those that are asked about a page of recipients: which of these users may have what is sent? */
  readonly authorizeMany: readonly ((
    userIds: readonly string[],
  ) => Iterable<string> | Promise<Iterable<string>>)[];
}

/** Names whose definitions are remembered: every message asks about those that its session is in. */
const MAX_MATCHED = 1000;

/** The declared channels. A name that no definition matches does not exist. */
export class Channels {
  readonly #matched = new Map<string, MatchedChannel>();
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
        authorizeMany: options.authorizeMany as CompiledChannel["authorizeMany"],
      };
    });
  }

  /** Every definition in the order of declaration. `asksData`: a hook has the last word. */
  list(): readonly {
    readonly pattern: string;
    readonly rule: Rule;
    readonly sendRule: Rule;
    readonly asksData: boolean;
  }[] {
    return this.#channels.map(({ definition, rule, sendRule, authorize, authorizeMany }) => ({
      pattern: definition.pattern,
      rule,
      sendRule,
      asksData: authorize !== undefined || authorizeMany !== undefined,
    }));
  }

  /** Every definition that the name matches, or undefined when none does. */
  match(name: string): MatchedChannel | undefined {
    const known = this.#matched.get(name);
    if (known) return known;
    const matched = this.#match(name);
    // Only names that mean something are remembered; strangers may send any number of others.
    if (matched) this.#matched.set(name, matched);
    if (this.#matched.size > MAX_MATCHED) this.#matched.delete(this.#matched.keys().next().value ?? "");
    return matched;
  }

  #match(name: string): MatchedChannel | undefined {
    const matches = this.#channels.flatMap((channel) => {
      const params = channel.definition.match(name);
      return params ? [{ ...channel, params }] : [];
    });
    if (matches.length === 0) return undefined;
    return {
      name,
      rules: matches.map(({ rule }) => rule),
      sendRules: matches.map(({ sendRule }) => sendRule),
      authorize: matches.flatMap(({ authorize, authorizeMany, params }) => {
        if (authorize) return [(user: User) => authorize({ user, params, channel: name })];
        // A hook that says who may receive says who may be there, too.
        if (!authorizeMany) return [];
        return [
          async ({ id }: User) =>
            id !== undefined && includes(await authorizeMany({ userIds: [id], params, channel: name }), id),
        ];
      }),
      authorizeAll: matches.flatMap(({ authorize, authorizeMany, params }) => {
        if (authorize) {
          const allows = async (user: User) => {
            try {
              return (await authorize({ user, params, channel: name })) === true;
            } catch (error) {
              if (error instanceof RefusedError) return false;
              throw error;
            }
          };
          return [(users: readonly User[]) => filtered(users, allows)];
        }
        if (!authorizeMany) return [];
        return [
          async (users: readonly User[]) => {
            const userIds = users.flatMap(({ id }) => id ?? []);
            const named = new Set(await authorizeMany({ userIds, params, channel: name }));
            return users.filter(({ id }) => id !== undefined && named.has(id));
          },
        ];
      }),
      authorizeMany: matches.flatMap(({ authorizeMany, params }) =>
        authorizeMany
          ? [(userIds: readonly string[]) => authorizeMany({ userIds, params, channel: name })]
          : [],
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

/** One after the other, as a hook may use what there is only one of. */
async function filtered<Item>(
  items: readonly Item[],
  allows: (item: Item) => Promise<boolean>,
): Promise<readonly Item[]> {
  const kept: Item[] = [];
  for (const item of items) if (await allows(item)) kept.push(item);
  return kept;
}

function includes(ids: Iterable<string>, wanted: string): boolean {
  for (const id of ids) if (id === wanted) return true;
  return false;
}

/** @throws RefusedError with 400 for what no channel can be called */
export function checkChannelName(name: unknown): asserts name is string {
  if (typeof name === "string" && isChannelName(name)) return;
  throw malformed(
    `${(JSON.stringify(name) ?? "undefined").slice(0, 200)} is no channel name.`,
    "Bad channel name.",
  );
}
