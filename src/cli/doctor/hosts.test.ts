import { expect, test } from "vitest";
import { sharedDomain } from "./hosts.ts";

test.each([
  ["www.example.com", "ws.example.com", "example.com"],
  ["example.com", "ws.example.com", "example.com"],
  ["a.b.example.com", "c.b.Example.com", "b.example.com"],
  ["www.example.com", "ws.example.org", undefined],
  ["localhost", "localhost", undefined],
  ["example.com", "com", undefined],
  ["page.a.co.uk", "ws.b.co.uk", undefined],
  ["page.a.co.uk", "ws.a.co.uk", "a.co.uk"],
  ["a.co.uk", "ws.a.co.uk", "a.co.uk"],
  ["www.a.com.au", "ws.b.com.au", undefined],
  ["www.a.ne.jp", "ws.b.ne.jp", undefined],
  ["www.example.de", "ws.example.de", "example.de"],
  // The second label is a name below a longer top-level domain.
  ["www.co.example", "ws.co.example", "co.example"],
  ["one.vercel.app", "two.vercel.app", undefined],
  ["www.one.vercel.app", "ws.one.vercel.app", "one.vercel.app"],
  ["one.github.io", "two.GitHub.io", undefined],
  ["d1.cloudfront.net", "d2.cloudfront.net", undefined],
  ["a1.execute-api.eu-west-1.amazonaws.com", "b2.execute-api.eu-west-1.amazonaws.com", undefined],
  ["one.eu-west-1.elasticbeanstalk.com", "two.eu-west-1.elasticbeanstalk.com", undefined],
  [
    "ws.one.eu-west-1.elasticbeanstalk.com",
    "one.eu-west-1.elasticbeanstalk.com",
    "one.eu-west-1.elasticbeanstalk.com",
  ],
  ["my-herokuapp.com", "ws.my-herokuapp.com", "my-herokuapp.com"],
])("sharedDomain(%j, %j) returns %j", (page, socket, shared) => {
  expect(sharedDomain(page, socket)).toBe(shared);
});
