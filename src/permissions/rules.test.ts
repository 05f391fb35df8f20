import { describe, expect, test } from "vitest";
import { ConfigurationError } from "../errors.ts";
import { definePermissions, PermissionCatalog } from "./permissions.ts";
import { ANONYMOUS, compileRule, judge, judgeAll, PageJudge, type Subject } from "./rules.ts";

const chat = definePermissions("chat", { use: "Use", moderate: "Moderate", broadcast: "Broadcast" });
const catalog = new PermissionCatalog([chat]);
const isKnown = (name: string) => catalog.find(name) !== undefined;
const rule = (...declarations: Parameters<typeof compileRule>[1]) =>
  compileRule("TestView", declarations, isKnown);

const user = (...permissions: string[]): Subject => ({
  userId: "user-1",
  isActive: true,
  isSuperuser: false,
  permissions,
});

describe("judge", () => {
  test("any of permissionsRequired lets in, none refuses and names the list", () => {
    const any = rule({ permissionsRequired: [chat.use, chat.moderate] });
    expect(judge(any, user("chat.moderate")).allowed).toBe(true);
    expect(judge(any, user("chat.broadcast"))).toEqual({
      allowed: false,
      reason: "permission",
      missing: ["chat.use", "chat.moderate"],
    });
  });

  test("all of allPermissionsRequired must be held; only what is absent is named", () => {
    const all = rule({ allPermissionsRequired: [chat.use, chat.moderate] });
    expect(judge(all, user("chat.use", "chat.moderate")).allowed).toBe(true);
    expect(judge(all, user("chat.use"))).toMatchObject({ missing: ["chat.moderate"] });
  });

  test("both lists declared: both hold", () => {
    const both = rule({ permissionsRequired: [chat.use], allPermissionsRequired: [chat.moderate] });
    expect(judge(both, user("chat.use")).allowed).toBe(false);
    expect(judge(both, user("chat.moderate")).allowed).toBe(false);
    expect(judge(both, user("chat.use", "chat.moderate")).allowed).toBe(true);
  });

  test("two any-lists are two demands, not one longer list", () => {
    const narrowed = rule({ permissionsRequired: [chat.use] }, { permissionsRequired: [chat.moderate] });
    expect(judge(narrowed, user("chat.use")).allowed).toBe(false);
    expect(judge(narrowed, user("chat.use", "chat.moderate")).allowed).toBe(true);
  });

  test("a superuser passes every permission rule, an inactive one none, not even an open one", () => {
    const all = rule({ allPermissionsRequired: [chat.use] });
    const root: Subject = { ...user(), isSuperuser: true };
    expect(judge(all, root).allowed).toBe(true);
    expect(judge(all, { ...root, isActive: false })).toMatchObject({ reason: "inactive" });
    expect(judge(rule({ allowAnonymous: true }), { ...root, isActive: false }).allowed).toBe(false);
  });

  test("nobody signed in passes only where nothing is demanded", () => {
    expect(judge(rule({ allowAnonymous: true }), ANONYMOUS).allowed).toBe(true);
    expect(judge(rule({ signedIn: true }), ANONYMOUS)).toMatchObject({ reason: "anonymous" });
    expect(judge(rule({ permissionsRequired: [chat.use] }), ANONYMOUS).allowed).toBe(false);
    expect(judge(rule({ signedIn: true }), user()).allowed).toBe(true);
  });

  test("an anonymous subject holding permissions or superuser flags is still anonymous", () => {
    const forged = { ...ANONYMOUS, isActive: true, isSuperuser: true, permissions: ["chat.use"] };
    expect(judge(rule({ permissionsRequired: [chat.use] }), forged).allowed).toBe(false);
  });

  test("of several rules the first that fails decides", () => {
    const verdict = judgeAll([rule({ signedIn: true }), rule({ permissionsRequired: [chat.use] })], user());
    expect(verdict).toMatchObject({ missing: ["chat.use"] });
  });
});

describe("judging a page", () => {
  const rules = [rule({ permissionsRequired: [chat.use] }), rule({ signedIn: true })];

  test("says of each what judging one by one says, whoever shares a list of permissions", () => {
    const [may, mayNot]: string[][] = [["chat.use"], ["chat.moderate"]];
    const page: Subject[] = [may, mayNot].flatMap((permissions) =>
      [true, false].flatMap((isActive) =>
        [true, false].flatMap((isSuperuser) =>
          ["u", null].map((userId) => ({ userId, isActive, isSuperuser, permissions: permissions ?? [] })),
        ),
      ),
    );
    // In both orders: whoever comes first must not decide for whoever shares the list.
    for (const order of [page, page.toReversed()]) {
      const judges = new PageJudge(rules);
      for (const subject of order) {
        expect(judges.allows(subject), JSON.stringify(subject)).toBe(judgeAll(rules, subject).allowed);
      }
    }
  });

  test("judges each list once", () => {
    const permissions = new Proxy(["chat.use"], {
      get: (target, name) => {
        if (name === "includes") asked++;
        return Reflect.get(target, name);
      },
    });
    let asked = 0;
    const judges = new PageJudge([rule({ permissionsRequired: [chat.use] })]);
    for (const userId of ["a", "b", "c"]) {
      expect(judges.allows({ userId, isActive: true, isSuperuser: false, permissions })).toBe(true);
    }
    expect(asked).toBe(1);
  });
});

describe("compileRule rejects", () => {
  const refusal = (declaration: unknown) => () => rule(declaration as { signedIn: true });

  test("an unknown name, and one that looks like a member of every object", () => {
    expect(refusal({ permissionsRequired: ["chat.veiw"] })).toThrow(/"chat.veiw"/);
    expect(refusal({ permissionsRequired: ["__proto__"] })).toThrow(ConfigurationError);
  });

  test("allowAnonymous beside a permission", () => {
    expect(refusal({ allowAnonymous: true, permissionsRequired: [chat.use] })).toThrow(/allowAnonymous/);
  });
});

describe("definePermissions", () => {
  test("makes app.codename, frozen", () => {
    expect(chat.use).toBe("chat.use");
    expect(Object.keys(chat)).toEqual(["use", "moderate", "broadcast"]);
    expect(Object.isFrozen(chat)).toBe(true);
  });

  test("refuses dots, empty labels and names over 100 characters", () => {
    expect(() => definePermissions("chat", { "a.b": "x" })).toThrow(/codename/);
    expect(() => definePermissions("Chat", { a: "x" })).toThrow(/lower-case/);
    expect(() => definePermissions("chat", { a: " " })).toThrow(/label/);
    expect(() => definePermissions("chat", { ["a".repeat(101)]: "x" })).toThrow(/codename/);
  });

  test("two sets of one app clash at start", () => {
    expect(() => new PermissionCatalog([chat, definePermissions("chat", { other: "Other" })])).toThrow(
      /"chat"/,
    );
  });

  test("text becomes a permission only through parse, which names the nearest", () => {
    expect(catalog.parse("chat.use")).toBe(chat.use);
    expect(() => catalog.parse("chat.moderat")).toThrow(/Did you mean "chat.moderate"/);
    expect(catalog.find("constructor")).toBeUndefined();
  });
});
