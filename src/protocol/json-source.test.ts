import fc from "fast-check";
import { expect, test } from "vitest";
import { numberSource } from "./json-source.ts";

test.each<[string, string | undefined]>([
  ['{"id":1}', "1"],
  ['{"id": 1.0 }', "1.0"],
  ['{"id"\n:\t-0,"a":1}', "-0"],
  ['{"a":{"id":2},"id":1e2}', "1e2"],
  ['{"a":[{"id":2}],"b":"\\"id\\":3","id":1E+2}', "1E+2"],
  ['{"id":12345678901234567890}', "12345678901234567890"],
  ['{"\\u0069d":9007199254740993}', "9007199254740993"],
  ['{"id":1,"id":2.0}', "2.0"],
  ['{"id":1,"id":"a"}', undefined],
  ['{"id":2,"a":{"id":1.0}}', "2"],
  ['{"a":"id","b":1}', undefined],
  ['{"id":1,"a":"id"}', "1"],
  ['{"id":1,"a":["x","id"]}', "1"],
  ['{"id":1,"a":[{"b":1,"id":2}]}', "1"],
  ['{"a":"\\\\","id":7}', "7"],
  ['{"id":null}', undefined],
  ["{}", undefined],
])("finds the number in %s", (text, source) => {
  expect(numberSource(text, "id")).toBe(source);
});

test("finds the number that JSON.parse returns, in any object", () => {
  const object = fc.dictionary(
    fc.oneof(fc.constantFrom("id", "ID", 'i"d', "\\id"), fc.string()),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(object, fc.integer(), fc.constantFrom(0, 1, 2), (fields, id, spaces) => {
      const text = JSON.stringify({ ...fields, id }, undefined, spaces);
      expect(numberSource(text, "id")).toBe(String(id));
      delete fields.id;
      expect(numberSource(JSON.stringify(fields, undefined, spaces), "id")).toBeUndefined();
    }),
  );
});
