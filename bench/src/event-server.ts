import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import Libsql from "libsql";
import pg from "pg";
import { nodeListener } from "sallyport/adapters/node";
import { benchApp } from "./bench-app.js";
import { openDatabase } from "./database.js";
import { EVENT_OPTIONS } from "./event-app.js";

/** A statement of an event, with the sources of its parameters. */
export interface Statement {
  readonly sql: string;
  /** Each is a field of the request, a text with the placeholder `{address}`, or a constant. */
  readonly values: readonly (
    | { readonly from: "connection" | "hash" | "id" }
    | { readonly text: string }
    | { readonly value: unknown }
  )[];
}

/**
 * A server in a child process: the app, or the baseline. The baseline is a `node:http` server that
 * parses the body and runs the same statements, prepared, with the same driver.
 */
const [, , role, source] = process.argv as [string, string, "app" | "baseline", string];

const listener = role === "app" ? appListener() : await baselineListener(JSON.parse(process.argv[4] ?? "[]"));
const server = createServer(listener);
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));

function appListener(): RequestListener {
  return nodeListener(benchApp(openDatabase(source), EVENT_OPTIONS));
}

async function baselineListener(statements: readonly Statement[]): Promise<RequestListener> {
  const run = source.startsWith("postgres:")
    ? runOnPostgres(source, statements)
    : runOnSqlite(source, statements);
  return (request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", async () => {
      if (body !== "") JSON.parse(body);
      const url = new URL(request.url ?? "", "http://bench");
      try {
        await run({
          connection: String(request.headers.connectionid),
          hash: url.searchParams.get("hash") ?? "",
          address: String(request.headers["x-sallyport-source-ip"]),
        });
        response.writeHead(200, { "content-type": "application/json" }).end('"pong"');
      } catch (error) {
        response.writeHead(500).end(String(error));
      }
    });
  };
}

interface RequestValues {
  readonly connection: string;
  readonly hash: string;
  readonly address: string;
}

let count = 0;

function parametersOf({ values }: Statement, request: RequestValues): unknown[] {
  return values.map((value) => {
    if ("value" in value) return value.value;
    if ("text" in value) return value.text.replace("{address}", request.address);
    return value.from === "id" ? `baseline-${process.pid}-${count++}` : request[value.from];
  });
}

function runOnSqlite(
  path: string,
  statements: readonly Statement[],
): (request: RequestValues) => Promise<void> {
  const database = new Libsql(path);
  const preparedStatements = statements.map((statement) => {
    const prepared = database.prepare(statement.sql);
    return { statement, prepared: prepared.reader ? prepared.raw(true) : prepared };
  });
  return async (request) => {
    for (const { statement, prepared } of preparedStatements) {
      if (prepared.reader)
        prepared[process.env.BASELINE_READ_METHOD === "all" ? "all" : "get"](
          parametersOf(statement, request),
        );
      else prepared.run(parametersOf(statement, request));
    }
  };
}

function runOnPostgres(
  url: string,
  statements: readonly Statement[],
): (request: RequestValues) => Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  const isSingle = statements.length === 1;
  return async (request) => {
    const client = isSingle ? pool : await pool.connect();
    try {
      for (const [number, statement] of statements.entries()) {
        const { sql: text, values } = statement;
        if (values.length === 0) await client.query(text);
        else {
          const parameters = parametersOf(statement, request);
          await client.query({ name: `statement${number}`, text, values: parameters });
        }
      }
    } finally {
      if (!isSingle) (client as pg.PoolClient).release();
    }
  };
}
