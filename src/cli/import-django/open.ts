import { ConfigurationError } from "../../errors.ts";
import type { DjangoDatabase } from "./database.ts";
import { openPostgresSource } from "./postgres-source.ts";
import { fileOfUrl, openSqliteSource } from "./sqlite-source.ts";

/** Other databases that Django supports, by the scheme of their URLs. */
const OTHER_DATABASES: Readonly<Record<string, string>> = {
  mysql: "MySQL",
  mysqlgis: "MySQL",
  mariadb: "MariaDB",
  oracle: "Oracle",
  oraclegis: "Oracle",
  mssql: "SQL Server",
};

/**
 * Opens a database of Django for reading only.
 *
 * @param url `postgres://…`, or the path or URL of a SQLite file
 * @throws ConfigurationError if it cannot be opened. The message contains no password
 */
export async function openDjangoDatabase(url: string): Promise<DjangoDatabase> {
  const [, scheme] = /^([a-z][a-z0-9+.-]+):/i.exec(url) ?? [];
  const kind = scheme?.toLowerCase().split("+")[0];
  if (url.includes("\0") || url.trim() === "") {
    throw new ConfigurationError(
      "--database is empty or contains a NUL character. Pass postgres://user@host/database, or the path of a SQLite file.",
    );
  }
  if (kind === "postgres" || kind === "postgresql") return openPostgresSource(url);
  if (kind === undefined || kind === "sqlite" || kind === "file") return openSqliteSource(fileOfUrl(url));
  throw unsupported(kind);
}

/** The URL is not repeated, because it can contain a password. */
function unsupported(scheme: string): ConfigurationError {
  const name = OTHER_DATABASES[scheme];
  if (name === undefined) {
    return new ConfigurationError(
      `--database is a ${scheme}: URL, but import-django reads PostgreSQL (postgres://…) and SQLite (a path, sqlite: or file:) only. Correct the URL.`,
    );
  }
  return new ConfigurationError(
    `--database is a ${name} database, but import-django reads PostgreSQL and SQLite only. Copy the users into a SQLite file with Django ` +
      '(docs/from-django.md, "Other databases"): manage.py dumpdata, then manage.py loaddata with a SQLite database. Then pass the path of that file.',
  );
}
