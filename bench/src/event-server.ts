import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import Libsql from "libsql";
import pg from "pg";
import { nodeListener } from "sallyport/adapters/node";
import { benchApp } from "./bench-app.js";
import { EVENT_OPTIONS, storageOf } from "./event-app.js";

/** A statement and where its values come from: a name of what the request brings, or a value that is always the same. */
export interface Step {
  readonly sql: string;
  readonly values: readonly (
    | { readonly from: "connection" | "hash" | "id" }
    | { readonly text: string }
    | { readonly value: unknown }
  )[];
}

/**
 * A server in a process of its own: the app, or the least that does its work: a `node:http` server that parses the body and sends
 * the same statements, prepared, over the same driver.
 */
const [, , role, source] = process.argv as [string, string, "app" | "bare", string];

const listener = role === "app" ? appListener() : await bareListener(JSON.parse(process.argv[4] ?? "[]"));
const server = createServer(listener);
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));

function appListener(): RequestListener {
  return nodeListener(benchApp(storageOf(source), EVENT_OPTIONS));
}

async function bareListener(steps: readonly Step[]): Promise<RequestListener> {
  const run = source.startsWith("postgres:") ? onPostgres(source, steps) : onSqlite(source, steps);
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

interface Given {
  readonly connection: string;
  readonly hash: string;
  readonly address: string;
}

let count = 0;

function valuesOf({ values }: Step, given: Given): unknown[] {
  return values.map((value) => {
    if ("value" in value) return value.value;
    if ("text" in value) return value.text.replace("{address}", given.address);
    return value.from === "id" ? `bare-${process.pid}-${count++}` : given[value.from];
  });
}

function onSqlite(path: string, steps: readonly Step[]): (given: Given) => Promise<void> {
  const database = new Libsql(path);
  const prepared = steps.map((step) => {
    const statement = database.prepare(step.sql);
    return { step, statement: statement.reader ? statement.raw(true) : statement };
  });
  return async (given) => {
    for (const { step, statement } of prepared) {
      if (statement.reader)
        statement[process.env.FLOOR_READS_BY === "all" ? "all" : "get"](valuesOf(step, given));
      else statement.run(valuesOf(step, given));
    }
  };
}

function onPostgres(url: string, steps: readonly Step[]): (given: Given) => Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  const isOne = steps.length === 1;
  return async (given) => {
    const client = isOne ? pool : await pool.connect();
    try {
      for (const [number, step] of steps.entries()) {
        if (step.values.length === 0) await client.query(step.sql);
        else await client.query({ name: `step${number}`, text: step.sql, values: valuesOf(step, given) });
      }
    } finally {
      if (!isOne) (client as pg.PoolClient).release();
    }
  };
}
