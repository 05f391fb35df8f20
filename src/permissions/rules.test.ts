import { describe, expect, test } from "vitest";
import { ConfigurationError } from "../errors.ts";
import type { Subject } from "../storage/stores/users.ts";
import { definePermissions, PermissionCatalog } from "./define.ts";
import { ANONYMOUS, compileRule, evaluateRule, evaluateRules, PageEvaluator } from "./rules.ts";

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

describe("a rule", () => {
  test("allows with any of permissionsRequired, and otherwise returns the list as missing", () => {
    const any = rule({ permissionsRequired: [chat.use, chat.moderate] });
    expect(evaluateRule(any, user("chat.moderate")).allowed).toBe(true);
    expect(evaluateRule(any, user("chat.broadcast"))).toEqual({
      allowed: false,
      reason: "permission",
      missing: ["chat.use", "chat.moderate"],
    });
  });

  test("requires all of allPermissionsRequired, and returns only the missing ones", () => {
    const all = rule({ allPermissionsRequired: [chat.use, chat.moderate] });
    expect(evaluateRule(all, user("chat.use", "chat.moderate")).allowed).toBe(true);
    expect(evaluateRule(all, user("chat.use"))).toMatchObject({ missing: ["chat.moderate"] });
  });

  test("B14 with both lists requires both", () => {
    const both = rule({ permissionsRequired: [chat.use], allPermissionsRequired: [chat.moderate] });
    expect(evaluateRule(both, user("chat.use")).allowed).toBe(false);
    expect(evaluateRule(both, user("chat.moderate")).allowed).toBe(false);
    expect(evaluateRule(both, user("chat.use", "chat.moderate")).allowed).toBe(true);
  });

  test("with two lists of permissionsRequired requires one of each", () => {
    const narrowed = rule({ permissionsRequired: [chat.use] }, { permissionsRequired: [chat.moderate] });
    expect(evaluateRule(narrowed, user("chat.use")).allowed).toBe(false);
    expect(evaluateRule(narrowed, user("chat.use", "chat.moderate")).allowed).toBe(true);
  });

  test("allows each superuser, and denies inactive users even with allowAnonymous", () => {
    const all = rule({ allPermissionsRequired: [chat.use] });
    const root: Subject = { ...user(), isSuperuser: true };
    expect(evaluateRule(all, root).allowed).toBe(true);
    expect(evaluateRule(all, { ...root, isActive: false })).toMatchObject({ reason: "inactive" });
    expect(evaluateRule(rule({ allowAnonymous: true }), { ...root, isActive: false }).allowed).toBe(false);
  });

  test("allows an anonymous caller only with allowAnonymous", () => {
    expect(evaluateRule(rule({ allowAnonymous: true }), ANONYMOUS).allowed).toBe(true);
    expect(evaluateRule(rule({ signedIn: true }), ANONYMOUS)).toMatchObject({ reason: "anonymous" });
    expect(evaluateRule(rule({ permissionsRequired: [chat.use] }), ANONYMOUS).allowed).toBe(false);
    expect(evaluateRule(rule({ signedIn: true }), user()).allowed).toBe(true);
  });

  test("denies an anonymous caller that has permissions or a superuser flag", () => {
    const forged = { ...ANONYMOUS, isActive: true, isSuperuser: true, permissions: ["chat.use"] };
    expect(evaluateRule(rule({ permissionsRequired: [chat.use] }), forged).allowed).toBe(false);
  });

  test("that fails determines the result of several rules", () => {
    const verdict = evaluateRules(
      [rule({ signedIn: true }), rule({ permissionsRequired: [chat.use] })],
      user(),
    );
    expect(verdict).toMatchObject({ missing: ["chat.use"] });
  });
});

describe("a page of subjects", () => {
  const rules = [rule({ permissionsRequired: [chat.use] }), rule({ signedIn: true })];

  test("gets the same results as single evaluations, also with shared permission lists", () => {
    const [allowedList, deniedList]: string[][] = [["chat.use"], ["chat.moderate"]];
    const page: Subject[] = [allowedList, deniedList].flatMap((permissions) =>
      [true, false].flatMap((isActive) =>
        [true, false].flatMap((isSuperuser) =>
          ["u", null].map((userId) => ({ userId, isActive, isSuperuser, permissions: permissions ?? [] })),
        ),
      ),
    );
    // In both orders, because the first subject must not decide for others with the same list.
    for (const order of [page, page.toReversed()]) {
      const judges = new PageEvaluator(rules);
      for (const subject of order) {
        expect(judges.isAllowed(subject), JSON.stringify(subject)).toBe(
          evaluateRules(rules, subject).allowed,
        );
      }
    }
  });

  test("evaluates each list once", () => {
    const permissions = new Proxy(["chat.use"], {
      get: (target, name) => {
        if (name === "includes") reads++;
        return Reflect.get(target, name);
      },
    });
    let reads = 0;
    const judges = new PageEvaluator([rule({ permissionsRequired: [chat.use] })]);
    for (const userId of ["a", "b", "c"]) {
      expect(judges.isAllowed({ userId, isActive: true, isSuperuser: false, permissions })).toBe(true);
    }
    expect(reads).toBe(1);
  });
});

describe("compileRule rejects", () => {
  const rejection = (declaration: unknown) => () => rule(declaration as { signedIn: true });

  test("an unknown name, and a name such as __proto__", () => {
    expect(rejection({ permissionsRequired: ["chat.veiw"] })).toThrow(/"chat.veiw"/);
    expect(rejection({ permissionsRequired: ["__proto__"] })).toThrow(ConfigurationError);
  });

  test("allowAnonymous together with a permission", () => {
    expect(rejection({ allowAnonymous: true, permissionsRequired: [chat.use] })).toThrow(/allowAnonymous/);
  });
});

describe("definePermissions", () => {
  test("returns frozen names of the form app.codename", () => {
    expect(chat.use).toBe("chat.use");
    expect(Object.keys(chat)).toEqual(["use", "moderate", "broadcast"]);
    expect(Object.isFrozen(chat)).toBe(true);
  });

  test("rejects dots, empty labels and names over 100 characters", () => {
    expect(() => definePermissions("chat", { "a.b": "x" })).toThrow(/codename/);
    expect(() => definePermissions("Chat", { a: "x" })).toThrow(/lowercase/);
    expect(() => definePermissions("chat", { a: " " })).toThrow(/label/);
    expect(() => definePermissions("chat", { ["a".repeat(101)]: "x" })).toThrow(/codename/);
  });

  test("defines at most one set for each app", () => {
    expect(() => new PermissionCatalog([chat, definePermissions("chat", { other: "Other" })])).toThrow(
      /"chat"/,
    );
  });

  test("defines the names that parse() accepts, with a suggestion for a similar name", () => {
    expect(catalog.parse("chat.use")).toBe(chat.use);
    expect(() => catalog.parse("chat.moderat")).toThrow(/Did you mean "chat.moderate"/);
    expect(catalog.find("constructor")).toBeUndefined();
  });
});
