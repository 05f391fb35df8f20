import { randomBytes } from "node:crypto";
import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { onTestFinished } from "vitest";
import { z } from "zod";
import type { Access } from "../../src/admin/access.ts";
import { gatewaySecret } from "../../src/auth/gateways.ts";
import type { SallyportOptions } from "../../src/config.ts";
import { definePermissions, modelPermissions, type Permission } from "../../src/permissions/define.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Tables } from "../../src/storage/database.ts";
import { postgres } from "../../src/storage/postgres.ts";
import { LibsqlDialect, sqlite } from "../../src/storage/sqlite.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { emptyDatabase, isPostgres, searching } from "../postgres/database.ts";

export const shop = definePermissions("shop", modelPermissions("article"), {
  can_ship: "Can ship orders",
});
/** Another app with a codename that the shop has too. */
export const news = definePermissions("news", modelPermissions("article", ["add", "change"]));

/** The owner of each article, as in a table of the app. */
export const authors = new Map<string, string>();

/** The room of an article. It requires a permission, and the app checks the article itself. */
export const articles = defineChannel("articles/:id", {
  permissionsRequired: [shop.view_article],
  authorize: ({ user, params }) => authors.get(params.id) === user.id,
});

/** Returns the text of a permission as code without types would pass it. */
export const asPermission = (text: unknown) => text as Permission;

const Names = z.object({ names: z.array(z.string()) });

/** A view for every signed-in user. Its handlers return what they find out about the user. */
export class ShopView extends WebSocketView {
  static override signedIn = true;

  ask = handler({ body: Names }, ({ body, user }) =>
    body.names.map((name) => user.hasPermission(asPermission(name))),
  );
  ask_none = handler(({ user }) => user.hasAllPermissions([]));
  about_me = handler(({ user }) => ({
    id: user.id ?? null,
    signedIn: user.signedIn,
    isSuperuser: user.isSuperuser,
    any: user.hasAnyPermission([shop.view_article, shop.change_article]),
    all: user.hasAllPermissions([shop.view_article, shop.change_article]),
    shop: user.hasAppPermissions(shop),
    news: user.hasAppPermissions(news),
  }));
  edit = handler({ permissionsRequired: [shop.change_article] }, () => "edited");
  /** Users who can change an article can view it. */
  look = handler({ permissionsRequired: [shop.view_article, shop.change_article] }, () => "seen");
  publish = handler(
    { allPermissionsRequired: [shop.change_article, news.add_article], authorize: () => false },
    () => "published",
  );
}

/** The same for anonymous users. */
export class LobbyView extends ShopView {
  static override inheritRules = false;
  static override allowAnonymous = true;
}

export const views = { "/ws/shop": ShopView, "/ws/lobby": LobbyView };

const ORIGIN = "https://www.example.com";

/** An app with its own database. Tests send it events as a gateway does. */
export interface Shop {
  readonly sallyport: Sallyport;
  readonly access: Access;
  /** Every SQL statement so far. */
  readonly statements: string[];
  /** Every error that was reported to onError. */
  readonly errors: unknown[];
  /** Runs a statement directly in the database. */
  sql(statement: string): Promise<Record<string, unknown>[]>;
  /** Returns the app after a code change, with the same database. */
  restarted(options: Partial<SallyportOptions>): Sallyport;
  /** Connects a user, or an anonymous user. */
  visit(user: string | null, view?: keyof typeof views): Promise<Visitor>;
}

/** An open connection. */
export interface Visitor {
  /** Returns the result of a handler, or the status of the denial. */
  call(name: string, fields?: object): Promise<unknown>;
}

export async function openShop(options: Partial<SallyportOptions> = {}): Promise<Shop> {
  const statements: string[] = [];
  const errors: unknown[] = [];
  const database = isPostgres ? await emptyDatabase() : undefined;
  const db = new Kysely<Tables>({
    dialect: database ? postgresDialect(searching(database.source)) : new LibsqlDialect({ path: ":memory:" }),
    log: ({ query }) => {
      statements.push(query.sql);
    },
  });
  const secret = gatewaySecret();
  const opened: Sallyport[] = [];
  const restarted = (others: Partial<SallyportOptions>) => {
    const sallyport = createSallyport({
      permissions: [shop, news],
      channels: [articles],
      views,
      authenticate: (request) => {
        const [, userId] = /login=(.+)/.exec(request.headers.get("cookie") ?? "") ?? [];
        return userId === undefined ? null : { userId };
      },
      origins: [ORIGIN],
      decisionLog: { sampleAllowed: 0 },
      limits: { connectsPerUser: false, tokensPerUser: false },
      onError: (error) => errors.push(error),
      ...others,
      storage: isPostgres ? postgres(db) : sqlite(db),
    });
    opened.push(sallyport);
    return sallyport;
  };
  const sallyport = restarted(options);
  onTestFinished(async () => {
    for (const each of opened) await each.close();
    await db.destroy();
    await database?.drop();
  });
  await sallyport.migrate();
  await sallyport.registerGateway({ name: "main", endpoint: "http://127.0.0.1:9/prod", secret });

  const event = async (path: string, headers: Record<string, string>, body?: object) => {
    const request = new Request(`https://app.example.com${path}`, {
      method: "POST",
      headers: { "x-sallyport-secret": secret, "x-sallyport-source-ip": "192.0.2.1", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const response = await sallyport.fetch(request);
    if (!response) throw new Error(`the app does not handle ${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const must = async (answer: ReturnType<typeof event>) => {
    const { status, body } = await answer;
    if (status !== 200) throw new Error(`denied with ${status}: ${JSON.stringify(body)}`);
    return body;
  };

  return {
    sallyport,
    access: sallyport.access,
    statements,
    errors,
    restarted,
    sql: async (statement) => (await sql<Record<string, unknown>>`${sql.raw(statement)}`.execute(db)).rows,
    async visit(user, view = "/ws/shop") {
      const connectionId = `${randomBytes(11).toString("base64url")}=`;
      const person = { origin: ORIGIN, ...(user === null ? {} : { cookie: `login=${user}` }) };
      const token = user === null ? undefined : (await must(event("/api/ws-token", person))).token;
      const query = token === undefined ? "" : `?ws_token=${token}`;
      await must(event(`${view}/connect${query}`, { ...person, connectionId }));
      return {
        async call(name, fields = {}) {
          const { body } = await event(
            `${view}/default`,
            { connectionId },
            { ...fields, handler: name, id: 1 },
          );
          return body.ok === true ? body.result : body.status;
        },
      };
    },
  };
}

function postgresDialect(connectionString: string): PostgresDialect {
  return new PostgresDialect({ pool: new pg.Pool({ connectionString, max: 4 }) });
}

/** Statements that read connections and permissions, except those of the poller. */
export const aboutRights = (statements: readonly string[]) =>
  statements.filter(
    (statement) =>
      /sallyport_(sessions|users|user_permissions|group_permissions|user_groups)/.test(statement) &&
      !statement.includes('"until_at" <='),
  );
