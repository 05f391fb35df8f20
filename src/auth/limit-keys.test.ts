import { describe, expect, test } from "vitest";
import { addressBlock } from "./limit-keys.ts";

describe("B25 addressBlock()", () => {
  test("returns an IPv4 address in its canonical form", () => {
    expect(addressBlock("203.0.113.7")).toBe("203.0.113.7");
    expect(addressBlock("::ffff:203.0.113.7")).toBe("203.0.113.7");
  });

  test("returns the /64 network of an IPv6 address", () => {
    expect(addressBlock("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
    expect(addressBlock("2001:0DB8:1:2::ffff")).toBe("2001:db8:1:2::/64");
    expect(addressBlock("2001:db8:1:3::1")).not.toBe(addressBlock("2001:db8:1:2::1"));
  });

  test("returns undefined for text that is not an address", () => {
    for (const text of ["", "x", "1.2.3.4, 5.6.7.8", "203.0.113.7:80", "999.1.1.1"]) {
      expect(addressBlock(text), text).toBeUndefined();
    }
  });
});
