import type { Note, Tally } from "../../src/cli/import-django/tally.ts";
import { type ImportFormat, importDjango } from "../../src/cli/import-django.ts";
import { WebSocketView } from "../../src/index.ts";
import { definePermissions, modelPermissions } from "../../src/permissions/define.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import { storageAt, type TestDatabase } from "../postgres/database.ts";
import { migratedDatabase } from "../postgres/migrated-database.ts";

const shop = definePermissions("shop", modelPermissions("article"));

class ShopView extends WebSocketView {
  static override permissionsRequired = [shop.add_article];
  static override receiveOnly = true;
}

/** An app into which tests import. It declares the permissions of `shop`, and none of `news`. */
export interface Shop {
  readonly sallyport: Sallyport;
  readonly database: TestDatabase;
  close(): Promise<void>;
}

export async function openShop(): Promise<Shop> {
  const database = await migratedDatabase();
  const sallyport = createSallyport({
    storage: storageAt(database.source),
    permissions: [shop],
    channels: [],
    views: { "/ws/shop": ShopView },
    authenticate: () => null,
    origins: ["https://www.example.com"],
  });
  await sallyport.migrate();
  return {
    sallyport,
    database,
    close: async () => {
      await sallyport.close();
      await database.drop();
    },
  };
}

/** The document that `--json` prints. */
export interface ImportReport {
  readonly applied: boolean;
  readonly counts: Tally["counts"];
  readonly notes: readonly Note[];
  readonly gateways: readonly {
    readonly name: string;
    readonly options: object;
    readonly isDefined: boolean;
  }[];
  readonly notImported: readonly string[];
  readonly missingTables: readonly string[];
  readonly lines: readonly string[];
}

/** Imports a database of Django, and returns the report in both forms. */
export async function importInto(
  sallyport: Sallyport,
  url: string,
  options: Partial<ImportFormat> = {},
): Promise<ImportReport> {
  const { json, lines } = await importDjango(sallyport, { uuidFormat: "hyphens", ...options, database: url });
  return { ...(json as Omit<ImportReport, "lines">), lines };
}

/** Returns the state of the shop: users with their groups and grants, and groups with theirs. */
export async function stateOf({ access }: Sallyport) {
  const users = await access.users.list({ limit: 1000 });
  const details = await Promise.all(users.map(({ id }) => access.users.get(id)));
  const groups = await access.groups.list();
  return {
    users: details.map((user) => ({
      id: user?.id,
      active: user?.isActive,
      superuser: user?.isSuperuser,
      groups: user?.groups.map(({ name }) => name),
      direct: user?.grants.filter(({ via }) => via === "direct").map(({ permission }) => permission),
    })),
    groups: Object.fromEntries(
      groups.map(({ name, permissions }) => [name, permissions.map((permission) => permission.name)]),
    ),
  };
}
