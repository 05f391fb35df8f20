import { ConfigurationError, ForbiddenError, malformedRequest, RequestError } from "../errors.ts";
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

/** The name of a channel with all definitions that it matches. */
export interface MatchedChannel {
  readonly name: string;
  /** A user in the channel must satisfy all of these rules. */
  readonly rules: readonly Rule[];
  /** A user who sends to the channel must also satisfy all of these rules. */
  readonly sendRules: readonly Rule[];
  /** The `authorize` functions, in the order of declaration. */
  readonly authorize: readonly ((user: User) => boolean | Promise<boolean>)[];
  /**
   * Each function returns the allowed users of a page. An `authorizeMany` is called once per page.
   */
  readonly authorizeAll: readonly ((users: readonly User[]) => Promise<readonly User[]>)[];
  /** Each function returns the ids of the users of a page who are allowed to receive a message. */
  readonly authorizeMany: readonly ((
    userIds: readonly string[],
  ) => Iterable<string> | Promise<Iterable<string>>)[];
}

/** The maximum number of cached names. Each message matches the channels of its connection. */
const MAX_MATCHED = 1000;

/** The declared channels. A name that no definition matches does not exist. */
export class Channels {
  readonly #matched = new Map<string, MatchedChannel>();
  readonly #channels: readonly CompiledChannel[];

  /** @throws ConfigurationError for an invalid rule, or a pattern that is declared twice */
  constructor(definitions: readonly ChannelDefinition[], catalog: PermissionCatalog) {
    const patterns = new Set<string>();
    this.#channels = definitions.map((definition) => {
      const { pattern, options } = definition;
      const owner = `channel "${pattern}"`;
      if (patterns.has(pattern))
        throw new ConfigurationError(`${owner} is declared twice. Merge the definitions.`);
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

  /**
   * Returns all definitions in the order of declaration. `hasAuthorize`: it has an `authorize`
   * function.
   */
  list(): readonly {
    readonly pattern: string;
    readonly rule: Rule;
    readonly sendRule: Rule;
    readonly hasAuthorize: boolean;
  }[] {
    return this.#channels.map(({ definition, rule, sendRule, authorize, authorizeMany }) => ({
      pattern: definition.pattern,
      rule,
      sendRule,
      hasAuthorize: authorize !== undefined || authorizeMany !== undefined,
    }));
  }

  /** Returns the definitions that a name matches, or undefined if there are none. */
  match(name: string): MatchedChannel | undefined {
    const known = this.#matched.get(name);
    if (known) return known;
    const matched = this.#match(name);
    // Only names with a definition are cached. Clients can send any number of others.
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
        // Without authorize, authorizeMany also decides who is allowed to join.
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
              if (error instanceof RequestError) return false;
              throw error;
            }
          };
          return [(users: readonly User[]) => filterInOrder(users, allows)];
        }
        if (!authorizeMany) return [];
        return [
          async (users: readonly User[]) => {
            const userIds = users.flatMap(({ id }) => id ?? []);
            const allowedIds = new Set(await authorizeMany({ userIds, params, channel: name }));
            return users.filter(({ id }) => id !== undefined && allowedIds.has(id));
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
   * Returns the definitions that the name of a client matches.
   *
   * @throws RequestError with 400 for an invalid name, or 403 if no definition matches
   */
  require(name: string): MatchedChannel {
    checkChannelName(name);
    const matched = this.match(name);
    if (!matched) {
      const message = `No channel definition matches "${name}". Add a defineChannel() that matches it, or correct the name.`;
      throw new ForbiddenError(message, { reason: "channel" });
    }
    return matched;
  }
}

/** Calls `allows` for one item after the other, because a hook may use a single connection. */
async function filterInOrder<Item>(
  items: readonly Item[],
  allows: (item: Item) => Promise<boolean>,
): Promise<readonly Item[]> {
  const kept: Item[] = [];
  for (const item of items) if (await allows(item)) kept.push(item);
  return kept;
}

function includes(ids: Iterable<string>, userId: string): boolean {
  for (const id of ids) if (id === userId) return true;
  return false;
}

/**
 * Validates the name of a channel that a client sent.
 *
 * @throws RequestError with 400 for an invalid name
 */
export function checkChannelName(name: unknown): asserts name is string {
  if (typeof name === "string" && isChannelName(name)) return;
  throw malformedRequest(
    `${(JSON.stringify(name) ?? "undefined").slice(0, 200)} is not a valid channel name. ` +
      "Send at most 128 letters, digits, _ and -, in segments that are separated by /.",
    "Bad channel name.",
  );
}
