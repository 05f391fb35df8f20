import type { Expression, ExpressionBuilder, SqlBool } from "kysely";
import type { Tables } from "../database.ts";
import type { ConnectionSelector } from "../stores/connections.ts";

/** A selector with a value of any type, such as a parameter of a prepared statement. */
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

/** Returns the value of a selector, or `""` if it has none that can be a parameter. */
export function selectedBy(selector: ConnectionSelector): string {
  if (selector.kind === "all" || selector.kind === "holders") return "";
  const { kind: _kind, ...by } = selector;
  return Object.values(by)[0] ?? "";
}

/** Returns a selector of the same kind with another value. */
export function withValue<Value>(selector: ConnectionSelector, value: Value): SelectorBy<Value> {
  if (selector.kind === "all" || selector.kind === "holders") return selector;
  const { kind, ...by } = selector;
  return { kind, [Object.keys(by)[0] as string]: value } as unknown as SelectorBy<Value>;
}

/** Connections as `s`, joined with their users as `u`. */
type Joined = Tables & { s: Tables["sallyport_connections"]; u: Tables["sallyport_users"] };

/**
 * Returns the SQL condition of a selector. For a channel it is always true, because the caller
 * joins the memberships of the channel.
 *
 * @param holders returns a subquery for the ids of the users with a permission
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
