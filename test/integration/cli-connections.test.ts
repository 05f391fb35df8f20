import { userInfo } from "node:os";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ConnectionInfo } from "../../src/index.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { ANN, BOB, commandLineWith, document, MODERATE, USE } from "./command-line.ts";
import { revoked, World } from "./world.ts";

const closed = (count: number) =>
  `${count === 1 ? "1 open connection was" : `${count} open connections were`} closed.`;

describe("the command line", () => {
  let world: World;
  beforeEach(async () => {
    world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": ChatView } });
    await world.sallyport.access.grant("u1", chat.can_use_chat);
    await world.sallyport.access.grant("u2", chat.can_use_chat);
  });
  afterEach(() => world.close());
  const app = (...args: string[]) => commandLineWith(args, { TEST_DATABASE: world.database });

  test("lists connections with user, view, channel, time and gateway", async () => {
    expect((await app("connections", "list")).out).toBe("No connection is open.\n");
    expect((await app("connections", "list", "--user", ANN)).out).toBe("No such connection is open.\n");
    await world.connect("u1", { channel: "rooms/general" });
    await world.connect("u2");
    const { out } = await app("connections", "list");
    expect(out).toMatch(/^\S+ +ann@example\.com \(u1\) +\/ws\/chat +rooms\/general +since 20\S+Z +local$/m);
    expect(out).toMatch(/^\S+ +bob@example\.com \(u2\) +\/ws\/chat +in no channel +since 20\S+Z +local$/m);
    const ofAnn = document(await app("connections", "list", "--user", ANN, "--json"));
    expect(ofAnn).toMatchObject([{ user: "u1", label: ANN, channels: ["rooms/general"], gateway: "local" }]);
    expect(document(await app("connections", "list", "--channel", "rooms/general", "--json"))).toEqual(ofAnn);
    expect(document(await app("connections", "list", "--view", "/ws/chat", "--json"))).toHaveLength(2);
  });

  test("closes connections by id, user or channel, and none in a dry run", async () => {
    const [ann, bob, again] = [
      await world.connect("u1", { channel: "rooms/general" }),
      await world.connect("u2", { channel: "rooms/general" }),
      await world.connect("u1"),
    ];
    const listed = document(await app("connections", "list", "--json")) as {
      connection: string;
      user: string;
      channels: string[];
    }[];
    const id = listed.find(({ user, channels: joined }) => user === "u1" && joined.length === 0)
      ?.connection as string;
    for (const [which, closing] of [
      [[id], [id]],
      [["--user", ANN], listed.filter(({ user }) => user === "u1").map(({ connection }) => connection)],
      [
        ["--channel", "rooms/general"],
        listed.filter(({ channels: joined }) => joined.length > 0).map(({ connection }) => connection),
      ],
    ] as const) {
      const preview = document(await app("connections", "close", ...which, "--dry-run", "--json"));
      expect(preview).toMatchObject({
        dryRun: true,
        connections: closing.map((connection) => ({ connection })),
      });
    }
    expect([ann.isClosed, bob.isClosed, again.isClosed]).toEqual([false, false, false]);
    expect((await app("connections", "close", id, "--reason", "stuck")).out).toMatch(
      /^Closed 1 connection:\n/,
    );
    await again.closed;
    expect(document(await app("connections", "close", "--user", ANN, "--json"))).toMatchObject({
      dryRun: false,
      connections: [{ user: "u1" }],
      report: { recipients: 1, failed: 0 },
    });
    await ann.closed;
    expect((await app("connections", "close", "--user", ANN)).out).toBe("No such connection is open.\n");
    expect((await app("connections", "close", "--channel", "rooms/general")).out).toMatch(
      /^Closed 1 connection:\n/,
    );
    await bob.closed;
    const audit = (await app("audit")).out;
    expect(audit).toContain('"stuck"');
    expect(audit).toContain(`closed the connections of ${ANN} (u1)`);
    expect(audit).toContain(`closed the connection ${id}, which belonged to ${ANN} (u1)`);
    expect(audit).toContain('closed the connections in the channel "rooms/general"');
    await world.sallyport.access.users.addToGroup("u1", "Newcomers", { until: Date.UTC(2030, 11, 31) });
    expect((await app("audit", "--limit", "1")).out).toContain(
      `added ${ANN} (u1) to the group "Newcomers" until 2030-12-31T00:00:00Z, and created that group`,
    );
  });

  test("closes the connections that the dry run of a revocation lists, and explains the notice", async () => {
    const ann = await world.connect("u1", { channel: "rooms/general" });
    const revoke = ["users", "revoke", ANN, USE, "--reason", "left the team"];
    const predicted = document(await app(...revoke, "--dry-run", "--json"));
    expect(predicted).toMatchObject({
      users: [{ user: "u1", label: ANN, gains: [], loses: [USE] }],
      connections: [{ user: "u1", label: ANN, view: "/ws/chat" }],
      channels: [],
    });
    expect((await app(...revoke, "--dry-run")).out).toMatch(
      /closes {2}ann@example\.com \(u1\) {2}\/ws\/chat, connection /,
    );
    expect(ann.isClosed).toBe(false);
    const [listed] = document(await app("connections", "list", "--json")) as [ConnectionInfo];
    const { number, ended } = document(await app(...revoke, "--json")) as { number: number; ended: unknown };
    expect(ended).toEqual({
      closedConnections: 1,
      leftChannels: 0,
      uncheckedConnections: 0,
      isComplete: true,
    });
    await ann.closed;
    expect(ann.received).toEqual([revoked()]);
    const reference = String(ann.received[0]?.reference);
    const { out } = await app("why", reference);
    expect(out).toContain(`\n  connection    ${listed.connection}\n  connectionId  ${listed.connectionId}\n`);
    expect(out).toMatch(/^denied \(403, permission\): ChatView needs/);
    expect(out).toContain(`✘ ChatView needs ${USE}\n    missing: ${USE}`);
    expect(out).toContain(
      `followed from change ${number}: cli:${userInfo().username} revoked ${USE} from ${ANN} (u1)\n`,
    );
    expect(out).toMatch(/ {4}at 20\S+Z, "left the team"\n$/);
    expect(document(await app("why", reference, "--json"))).toMatchObject({
      reference,
      label: ANN,
      verdict: "denied",
      followedFrom: { number, action: "revoke", reason: "left the team" },
    });
  });

  test("explains a denial with the last change that took the permission away, whatever its kind", async () => {
    const ann = await world.connect("u1");
    const lostWith = async () => {
      const { reference } = await ann.call("delete_message");
      const { out } = await app("why", String(reference));
      return /^lost with change \d+: \S+ (.+)$/m.exec(out)?.[1];
    };
    expect(await lostWith()).toBeUndefined();
    await app("users", "grant", ANN, MODERATE);
    await app("users", "revoke", ANN, MODERATE, "--reason", "left the team");
    expect(await lostWith()).toBe(`revoked ${MODERATE} from ${ANN} (u1)`);
    // A change of another permission or user is no cause.
    await app("users", "grant", BOB, MODERATE);
    await app("users", "revoke", BOB, MODERATE);
    expect(await lostWith()).toBe(`revoked ${MODERATE} from ${ANN} (u1)`);

    await app("groups", "create", "moderators");
    await app("groups", "grant", "moderators", MODERATE);
    await app("groups", "add", "moderators", ANN);
    await app("groups", "remove", "moderators", ANN);
    expect(await lostWith()).toBe(`removed ${ANN} (u1) from the group "moderators"`);
    await app("groups", "add", "moderators", ANN);
    await app("groups", "revoke", "moderators", MODERATE);
    expect(await lostWith()).toBe(`revoked ${MODERATE} from the group "moderators"`);
    await app("users", "superuser", ANN, "on");
    await app("users", "superuser", ANN, "off");
    expect(await lostWith()).toBe(`set superuser of ${ANN} (u1) to off`);

    const reference = String((await ann.call("delete_message")).reference);
    await app("users", "grant", ANN, MODERATE);
    await app("users", "revoke", ANN, MODERATE);
    // A later change does not explain an earlier denial.
    expect(document(await app("why", reference, "--json"))).toMatchObject({
      lostWith: { action: "set-superuser" },
      followedFrom: null,
    });
    expect((await app("users", "revoke", ANN, USE)).code).toBe(0);
  });

  test("removes a connection from the channel that the dry run of a revocation lists", async () => {
    await world.sallyport.access.grant("u1", chat.can_moderate_chat);
    const ann = await world.connect("u1", { channel: "rooms/moderators" });
    const revoke = ["users", "revoke", ANN, MODERATE];
    expect(document(await app(...revoke, "--dry-run", "--json"))).toMatchObject({
      connections: [],
      channels: [{ user: "u1", label: ANN, channel: "rooms/moderators" }],
    });
    expect((await app(...revoke, "--dry-run")).out).toContain(
      `leaves  ${ANN} (u1)  rooms/moderators, connection `,
    );
    expect(ann.received).toEqual([]);
    expect((await app(...revoke)).out).toBe(
      `${ANN} (u1) no longer has ${MODERATE} directly.\n1 channel was left.\n`,
    );
    await ann.message("sallyport.revoked");
    expect(ann.received).toEqual([revoked("rooms/moderators")]);
    expect(ann.isClosed).toBe(false);
  });

  test("prints how many connections and channels each kind of change ended", async () => {
    const [ann] = [await world.connect("u1", { channel: "rooms/general" }), await world.connect("u2")];
    await app("groups", "create", "members");
    await app("groups", "grant", "members", USE);
    await app("groups", "add", "members", ANN);
    expect((await app("users", "revoke", ANN, USE)).out).toBe(
      `${ANN} (u1) no longer has ${USE} directly.\nNo open connection was affected.\nIt is still held through the group "members".\n`,
    );
    const lines = ['The group "members" is deleted, with its memberships and grants.', closed(1), ""];
    expect((await app("groups", "delete", "members")).out).toBe(lines.join("\n"));
    await ann.closed;
    expect((await app("users", "deactivate", BOB)).out).toBe(
      [`${BOB} (u2) is now inactive.`, closed(1), ""].join("\n"),
    );
    expect((await app("users", "deactivate", BOB)).out).toBe(`${BOB} (u2) is already inactive.\n`);
    expect((await app("users", "activate", BOB)).out).toBe(`${BOB} (u2) is now active.\n`);
    const again = [await world.connect("u2"), await world.connect("u2")];
    expect((await app("users", "delete", BOB)).out).toBe(
      [`${BOB} (u2) is deleted, with all grants and memberships.`, closed(2), ""].join("\n"),
    );
    await Promise.all(again.map((each) => each.closed));
  });

  test("prints 50 lines of a long list as text, and the complete list as JSON", async () => {
    for (let index = 0; index < 60; index++) {
      await world.sallyport.access.grant(`many-${String(index).padStart(2, "0")}`, chat.can_use_chat);
    }
    const { out } = await app("permissions", "who", USE);
    expect(out.trimEnd().split("\n")).toHaveLength(51);
    expect(out).toMatch(/\nand 12 more \(--json lists all\)\n$/);
    expect(document(await app("permissions", "who", USE, "--json"))).toHaveLength(62);
  });
});
