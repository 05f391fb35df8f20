import { expect, test } from "vitest";
import { PostgresHosts } from "./postgres-hosts.ts";

/** Returns the connection strings in the order of use when each one fails. */
function inOrder(source: string): readonly string[] {
  const hosts = new PostgresHosts(source);
  return Array.from({ length: hosts.count + 1 }, () => {
    const { current } = hosts;
    hosts.failed(current, new Error("refused"));
    return current;
  });
}

test.each([
  ["postgres://a/db", ["postgres://a/db", "postgres://a/db"]],
  [
    "postgresql://ann:p%2Cw@a:5432,b:5433,[::1]/db?sslmode=require",
    [
      "postgresql://ann:p%2Cw@a:5432/db?sslmode=require",
      "postgresql://ann:p%2Cw@b:5433/db?sslmode=require",
      "postgresql://ann:p%2Cw@[::1]/db?sslmode=require",
      "postgresql://ann:p%2Cw@a:5432/db?sslmode=require",
    ],
  ],
  ["postgres:///db?host=/var/run", ["postgres:///db?host=/var/run", "postgres:///db?host=/var/run"]],
])("reads the servers of %s", (source, expected) => {
  expect(inOrder(source)).toEqual(expected);
});

test("moves on once when several attempts to the same server fail", () => {
  const hosts = new PostgresHosts("postgres://a,b,c/db");
  const first = hosts.current;
  hosts.failed(first, new Error("refused"));
  hosts.failed(first, new Error("refused"));
  expect(hosts.current).toBe("postgres://b/db");
  expect(hosts.failure?.message).toBe("refused");
});

test.each(["", "localhost", "http://a/db", "postgres:///db", "postgres://a,,b/db", "postgres://,/db"])(
  "rejects %j, which names no server, and does not repeat it",
  (source) => {
    expect(() => new PostgresHosts(source)).toThrow(/does not name one\. Set the variable/);
  },
);

test.each(["standby", "any", "prefer-standby", "read-only", ""])(
  "rejects target_session_attrs=%s, because such a server need not accept writes",
  (value) => {
    expect(() => new PostgresHosts(`postgres://a/db?target_session_attrs=${value}`)).toThrow(
      /must be read-write or primary/,
    );
  },
);

test("reports whether the connection string contains a password", () => {
  expect(new PostgresHosts("postgres://ann@a,b/db").hasPassword).toBe(false);
  expect(new PostgresHosts("postgres://ann:secret@a,b/db").hasPassword).toBe(true);
  expect(new PostgresHosts("postgres://ann@a,b/db?password=secret").hasPassword).toBe(true);
});
