import type { Expression, ExpressionBuilder, SqlBool } from "kysely";
import type { Tables } from "../storage/database.ts";

/**
 * Which sessions: `all` of them, or those of one channel, view, user, group, connection, of the users whom a change's
 * record lists, or of those who hold a permission now. Of a login that ended and of a user who was deleted it is those
 * whose rows were closed with it, until their sockets have disconnected: a user who came anew is another one.
 */
export type ConnectionSelector = SelectorBy<string>;

/** A selector whose value, of which each kind has at most one, may stand for one that comes later. */
export type SelectorBy<Value> =
  | { readonly kind: "all" }
  | { readonly kind: "channel"; readonly channel: Value }
  | { readonly kind: "view"; readonly view: Value }
  | { readonly kind: "user"; readonly userId: Value }
  | { readonly kind: "group"; readonly group: Value }
  | { readonly kind: "listed"; readonly revocationId: Value }
  | { readonly kind: "holders"; readonly permission: string }
  | { readonly kind: "connection"; readonly connectionKey: Value }
  | { readonly kind: "connection-id"; readonly connectionId: Value }
  | { readonly kind: "session"; readonly sessionId: Value }
  | { readonly kind: "deleted-user"; readonly userId: Value };

/** What a selector selects by; `""` where it is by nothing that can come later. */
export function selectedBy(selector: ConnectionSelector): string {
  if (selector.kind === "all" || selector.kind === "holders") return "";
  const { kind: _kind, ...by } = selector;
  return Object.values(by)[0] ?? "";
}

/** The same selector by another value. */
export function withValue<Value>(selector: ConnectionSelector, value: Value): SelectorBy<Value> {
  if (selector.kind === "all" || selector.kind === "holders") return selector;
  const { kind, ...by } = selector;
  return { kind, [Object.keys(by)[0] as string]: value } as unknown as SelectorBy<Value>;
}

/** Sessions under the name `s`, their users under `u`. */
type Joined = Tables & { s: Tables["sallyport_connections"]; u: Tables["sallyport_users"] };

/**
 * The condition that selects: of sessions as `s` with their users as `u`. A channel's sessions are found by joining its
 * own index instead.
 *
 * @param holders users who hold a permission now, as a subquery of ids
 */
export function isSelected(
  eb: ExpressionBuilder<Joined, "s" | "u">,
  selector: SelectorBy<string | Expression<string>>,
  holders: (permission: string) => Expression<string>,
): Expression<SqlBool> {
  switch (selector.kind) {
    case "all":
    case "channel":
      return eb.lit(true);
    case "view":
      return eb("s.view", "=", selector.view);
    case "user":
    case "deleted-user":
      return eb("s.user_id", "=", selector.userId);
    case "connection":
      return eb("s.id", "=", selector.connectionKey);
    case "connection-id":
      return eb("s.connection_id", "=", selector.connectionId);
    case "session":
      return eb("s.session_id", "=", selector.sessionId);
    case "listed":
      return eb(
        "s.user_id",
        "in",
        eb
          .selectFrom("sallyport_revocation_users as listed")
          .select("listed.user_id")
          .where("listed.revocation_id", "=", selector.revocationId),
      );
    case "group":
      return eb(
        "s.user_id",
        "in",
        eb
          .selectFrom("sallyport_user_groups as member")
          .select("member.user_id")
          .where("member.group_name", "=", selector.group),
      );
    case "holders":
      return eb.and([
        eb("u.is_active", "=", 1),
        eb.or([eb("u.is_superuser", "=", 1), eb("s.user_id", "in", holders(selector.permission))]),
      ]);
  }
}
