import { describe, expect, test } from "vitest";
import { ConfigurationError } from "../errors.ts";
import { defineGateway, type GatewayDefinition, type GatewayOptions } from "./define-gateway.ts";
import { definedGateways, getDefinition } from "./defined-gateways.ts";
import { accountOf, viewOf } from "./targets.ts";

const CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d";
const LAMBDA = "arn:aws:lambda:eu-west-1:123456789012:function:chat:live";
const LOG_GROUP = "arn:aws:logs:eu-west-1:123456789012:log-group:chat";

const define = (options: object = {}) =>
  defineGateway({
    name: "chat",
    region: "eu-west-1",
    target: "https://www.example.com/ws/chat",
    ...options,
  } as GatewayOptions);

describe("a gateway definition", () => {
  test("B51 has a default for each option and is frozen", () => {
    const definition = define();
    expect(definition).toMatchObject({
      stage: "production",
      routeSelectionExpression: "$request.body.action",
      domains: [],
      apiKeySelectionExpression: "$request.header.x-api-key",
      account: undefined,
      disableExecuteApiEndpoint: false,
      tags: {},
      throttling: undefined,
      accessLog: undefined,
      description: "",
      timeoutMs: 29_000,
      replies: "route",
    });
    expect(Object.isFrozen(definition)).toBe(true);
  });

  test("has no routes by default and keeps the given options unchanged", () => {
    expect(define().routes).toEqual(new Map());
    const given = {
      stage: "v_2-a",
      routeSelectionExpression: "$request.body.type",
      description: "x".repeat(1024),
      timeoutMs: 50,
      replies: "push",
      throttling: { ratePerSecond: 0.5, burst: 1 },
      accessLog: { destinationArn: LOG_GROUP, format: "$context.extendedRequestId" },
      disableExecuteApiEndpoint: true,
      apiKeySelectionExpression: "$context.authorizer.usageIdentifierKey",
      account: "210987654321",
    };
    const domain = { name: "ws.example.com", certificateArn: CERTIFICATE };
    expect(define({ ...given, domain })).toMatchObject(given);
    expect(define({ domain }).domains).toEqual([{ ...domain, mappingKey: "" }]);
    expect(define({ domain: [{ ...domain, mappingKey: "chat" }, domain] }).domains).toEqual([
      { ...domain, mappingKey: "chat" },
      { ...domain, mappingKey: "" },
    ]);
  });

  test("has frozen parts and does not change with the options object", () => {
    const options = {
      target: { lambda: LAMBDA },
      tags: { team: "chat" },
      domain: { name: "ws.example.com", certificateArn: CERTIFICATE },
      throttling: { ratePerSecond: 1, burst: 1 },
      accessLog: { destinationArn: LOG_GROUP },
    };
    const definition = define(options);
    for (const part of ["target", "tags", "domains", "throttling", "accessLog"] as const)
      expect(Object.isFrozen(definition[part]), part).toBe(true);
    options.tags.team = "other";
    options.throttling.burst = 0;
    options.domain.name = "";
    expect(definition.tags).toEqual({ team: "chat" });
    expect(definition.throttling).toEqual({ ratePerSecond: 1, burst: 1 });
    expect(definition.domains[0]?.name).toBe("ws.example.com");
  });

  test("accepts the longest names and the largest numbers of routes and tags that AWS allows", () => {
    const urls = Array.from({ length: 297 }, (_, n) => [`r${n}`, `https://x.example.com/ws/r${n}`]);
    expect(define({ routes: Object.fromEntries(urls) }).routes.size).toBe(297);
    const tags = Object.fromEntries(Array.from({ length: 48 }, (_, n) => [`t${n}`, "x".repeat(256)]));
    expect(define({ tags }).tags).toEqual(tags);
    expect(define({ name: "x".repeat(128), stage: "x".repeat(128) }).name).toHaveLength(128);
    expect(define({ routes: { ["k".repeat(128)]: { lambda: LAMBDA } } }).routes.size).toBe(1);
  });

  test.each([
    "eu-west-1",
    "us-gov-west-1",
    "cn-north-1",
    "ap-southeast-2",
    "us-iso-east-1",
    "eusc-de-east-1",
  ])("accepts the region %s", (region) => {
    expect(define({ region }).region).toBe(region);
  });

  test("accepts a target with trailing slashes, and a function by ARN, alias or version", () => {
    for (const slashes of ["", "/", "//"])
      expect(define({ target: `https://www.example.com/ws/chat${slashes}` }).target).toBe(
        "https://www.example.com/ws/chat",
      );
    for (const lambda of [LAMBDA, LAMBDA.replace(":live", ""), LAMBDA.replace(":live", ":7")])
      expect(define({ target: { lambda } }).target).toEqual({ lambda });
  });

  test("B55 needs a target, which must be an https URL or a function", () => {
    for (const target of [undefined, null, "", "/ws/chat", "www.example.com/ws/chat"])
      expect(() => define({ target }), String(target)).toThrow(ConfigurationError);
    for (const scheme of ["http", "ws", "wss", "HTTP"])
      expect(() => define({ target: `${scheme}://www.example.com/ws/chat` }), scheme).toThrow(/https:\/\//);
  });

  test("sorts routes and tags by name", () => {
    const one = define({ routes: { b: "https://x.example.com/ws/b/b", a: "https://x.example.com/ws/a/a" } });
    expect([...one.routes.keys()]).toEqual(["a", "b"]);
    expect(Object.keys(define({ tags: { b: "1", a: "2" } }).tags)).toEqual(["a", "b"]);
  });

  test("determines the account from the option, the certificate, the log group or the function", () => {
    const other = LAMBDA.replace("123456789012", "999999999999");
    const target = { lambda: other };
    expect(define({ target }).account).toBe("999999999999");
    expect(define({ target, account: "123456789012" }).account).toBe("123456789012");
    const domain = { name: "ws.example.com", certificateArn: CERTIFICATE };
    expect(define({ target, domain }).account).toBe("123456789012");
    expect(define({ target, accessLog: { destinationArn: LOG_GROUP } }).account).toBe("123456789012");
    expect(() => define({ target, routes: { more: { lambda: LAMBDA } } })).toThrow(
      /its functions are in the accounts 999999999999 and 123456789012, so the account of the API is unknown\. Add it: account: "…"\.$/,
    );
  });

  test("has a default access log format and accepts a log group ARN that ends with :*", () => {
    const destinationArn = "arn:aws:logs:eu-west-1:123456789012:log-group:chat";
    const { accessLog } = define({ accessLog: { destinationArn: `${destinationArn}:*` } });
    expect(accessLog?.destinationArn).toBe(destinationArn);
    expect(JSON.parse(accessLog?.format ?? "")).toMatchObject({ requestId: "$context.requestId" });
  });

  const domain = (change: object) => ({
    domain: { name: "ws.example.com", certificateArn: CERTIFICATE, ...change },
  });
  const route = (key: string, url: unknown) => ({ routes: { [key]: url } });
  test.each<[string, object, RegExp]>([
    [
      "an invalid account",
      { account: "1234" },
      /account must be the 12 digits of an AWS account as a string, but received/,
    ],
    [
      "a numeric account",
      { account: 123456789012 },
      /account must be the 12 digits of an AWS account as a string, but received/,
    ],
    [
      "an unknown source of API keys",
      { apiKeySelectionExpression: "$request.body.key" },
      /apiKeySelectionExpression must be "\$request/,
    ],
    [
      "the same domain twice",
      { domain: [domain({}).domain, domain({ mappingKey: "" }).domain] },
      /domain contains ws\.example\.com twice/,
    ],
    [
      "two certificates for one domain",
      { domain: [domain({}).domain, domain({ mappingKey: "b", certificateArn: `${CERTIFICATE}e` }).domain] },
      /domain ws\.example\.com has two certificates/,
    ],
    [
      "an access log in another region",
      { accessLog: { destinationArn: LOG_GROUP.replace("eu-west-1", "us-east-1") } },
      /accessLog\.destinationArn is in us-east-1, but the log must be in eu-west-1/,
    ],
    [
      "an access log format with two lines",
      { accessLog: { destinationArn: LOG_GROUP, format: "$context.requestId\n" } },
      /accessLog\.format must be one line/,
    ],
    [
      "the $LATEST version of a function, which accepts no permission",
      { target: { lambda: LAMBDA.replace(":live", ":$LATEST") } },
      /target\.lambda ends with :\$LATEST/,
    ],
    ["a blank name", { name: " " }, /name must be 1 to 128 letters/],
    [
      "a function in China for another partition",
      { target: { lambda: LAMBDA.replace("arn:aws:", "arn:aws-cn:") } },
      /target\.lambda is in partition aws-cn, but eu-west-1 is in aws/,
    ],
    [
      "a certificate in China for another partition",
      domain({ certificateArn: CERTIFICATE.replace("arn:aws:", "arn:aws-cn:") }),
      /certificateArn is in partition aws-cn, but eu-west-1 is in aws/,
    ],
    ["an IP address as host name", { target: "https://[::1]:81/ws/chat" }, /contains an IPv6 address/],
    [
      "a mapping key with a trailing space",
      route("join ", "https://x.example.com/ws/a/b"),
      /the key "join " of routes must be .*no space at their ends/,
    ],
    ["no name", { name: "" }, /name must be 1 to 128 letters/],
    ["a name that is too long", { name: "x".repeat(129) }, /name must be 1 to 128 letters/],
    ["a name with other characters", { name: "chat/production" }, /name must be 1 to 128 letters/],
    ["a name that is not a string", { name: 7 }, /name must be 1 to 128 letters/],
    ["no region", { region: undefined }, /region is undefined\. It must be an AWS region such as eu-west-1/],
    ["an invalid region", { region: "Ireland" }, /region must be an AWS region/],
    [
      "a stage with a slash",
      { stage: "a/b" },
      /stage must be 1 to 128 letters, digits, _ or -, but received "a\/b"/,
    ],
    ["an empty stage", { stage: "" }, /stage must be 1 to 128 letters/],
    ["no target", { target: undefined }, /target is undefined\. It must be a URL such as https:/],
    ["a target that is null", { target: null }, /target must be a URL such as https:/],
    ["a target over http", { target: "http://www.example.com/ws/chat" }, /must begin with https:\/\//],
    ["a target with a query", { target: "https://www.example.com/ws/chat?a=1" }, /has a query or fragment/],
    [
      "a target with a password",
      { target: "https://me:secret@www.example.com/ws" },
      /contains a user name or password/,
    ],
    [
      "a target that is too long",
      { target: `https://www.example.com/${"x".repeat(2000)}` },
      /longer than 2000/,
    ],
    [
      "a function that is not an ARN",
      { target: { lambda: "chat" } },
      /target\.lambda must be the ARN of a Lambda function, but received "chat"/,
    ],
    [
      "a function in another region",
      { target: { lambda: LAMBDA.replace("eu-west-1", "us-east-1") } },
      /is in us-east-1/,
    ],
    [
      "a route that begins with $",
      route("$other", "https://www.example.com/ws/chat/x"),
      /do not begin with \$/,
    ],
    [
      "a route without a name",
      route("", "https://www.example.com/ws/chat/x"),
      /of routes must be 1 to 128 characters/,
    ],
    [
      "a route to $connect's URL",
      route("moderate", "https://www.example.com/ws/chat/connect"),
      /must end with a route name below the path of the view.*\/ws\/chat\/moderate/,
    ],
    [
      "a route URL that does not end with a route name",
      route("a b", "https://www.example.com/ws/chat/ä"),
      /must end with a route name below the path of the view/,
    ],
    [
      "too many routes",
      {
        routes: Object.fromEntries(
          Array.from({ length: 298 }, (_, n) => [`r${n}`, `https://x.example.com/ws/r${n}`]),
        ),
      },
      /routes must have at most 297 keys: an API has at most 300/,
    ],
    [
      "a domain with capital letters",
      domain({ name: "WS.example.com" }),
      /domain\.name must be a domain name in lower case, such as ws\.example\.com/,
    ],
    [
      "a domain that is a URL",
      domain({ name: "https://ws.example.com" }),
      /domain\.name must be a domain name/,
    ],
    [
      "an invalid certificate",
      domain({ certificateArn: "arn:aws:iam::123456789012:server-certificate/x" }),
      /must be the ARN of a certificate in AWS Certificate Manager/,
    ],
    [
      "a certificate in another region",
      domain({ certificateArn: CERTIFICATE.replace("eu-west-1", "us-east-1") }),
      /must be in eu-west-1/,
    ],
    ["a mapping key with a space", domain({ mappingKey: "a b" }), /mappingKey must be at most 300/],
    [
      "a mapping key that AWS reserves",
      domain({ mappingKey: "ping" }),
      /and not "ping" or "sping", but received "ping"/,
    ],
    [
      "a misspelled option of the domain",
      domain({ certificateARN: "x" }),
      /domain\.certificateARN is not an option\. Did you mean "certificateArn"/,
    ],
    [
      "a disabled default endpoint without a domain",
      { disableExecuteApiEndpoint: true },
      /without a domain leaves no address/,
    ],
    [
      "a tag with the prefix of AWS",
      { tags: { "aws:x": "1" } },
      /the key "aws:x" of tags must be .*not begin with aws: or sallyport:/,
    ],
    [
      "a tag with the prefix of Sallyport",
      { tags: { "sallyport:gateway": "other" } },
      /the key "sallyport:gateway" of tags must be/,
    ],
    ["a tag with an invalid value", { tags: { team: 7 } }, /tags\.team must be at most 256/],
    [
      "too many tags",
      { tags: Object.fromEntries(Array.from({ length: 49 }, (_, n) => [`t${n}`, ""])) },
      /tags must have at most 48 entries/,
    ],
    [
      "throttling of 0",
      { throttling: { ratePerSecond: 0, burst: 1 } },
      /above 0, because with 0 every connect would receive 429/,
    ],
    [
      "a burst that is not an integer",
      { throttling: { ratePerSecond: 1, burst: 1.5 } },
      /burst must be a whole number/,
    ],
    [
      "throttling without a burst",
      { throttling: { ratePerSecond: 1 } },
      /throttling\.burst is missing\. It must be a whole number/,
    ],
    ["an access log without a destination", { accessLog: { destinationArn: "chat" } }, /ARN of a log group/],
    [
      "an access log with another kind of destination",
      { accessLog: { destinationArn: "arn:aws:firehose:eu-west-1:123456789012:deliverystream/chat" } },
      /with a name that begins with amazon-apigateway-/,
    ],
    [
      "an access log format without a request id",
      {
        accessLog: {
          destinationArn: "arn:aws:logs:eu-west-1:123456789012:log-group:chat",
          format: "$context.status",
        },
      },
      /that contains \$context\.requestId/,
    ],
    ["a timeout that is too short", { timeoutMs: 49 }, /from 50 to 29000, but received 49/],
    ["a timeout that is too long", { timeoutMs: 29_001 }, /from 50 to 29000, but received 29001/],
    ["an unknown reply mode", { replies: "both" }, /replies must be "route" or "push", but received "both"/],
    ["a description that is too long", { description: "x".repeat(1025) }, /at most 1024 characters/],
    ["a misspelled option", { rotues: {} }, /rotues is not an option\. Did you mean "routes"/],
    [
      "a region with a trailing space",
      { region: "eu-west-1 " },
      /region must be an AWS region such as eu-west-1, but received "eu-west-1 "/,
    ],
    ["a name with a line break", { name: "chat\n" }, /name must be 1 to 128 letters/],
    ["a stage that is too long", { stage: "x".repeat(129) }, /stage must be 1 to 128 letters/],
    ["a stage with a space", { stage: "my stage" }, /stage must be 1 to 128 letters/],
    ["a stage that is null", { stage: null }, /stage must be .* but received null/],
    [
      "a target that is a path",
      { target: "/ws/chat" },
      /target must be a URL such as https:.*but received "\/ws\/chat"/,
    ],
    [
      "a target with a WebSocket URL",
      { target: "wss://www.example.com/ws/chat" },
      /target wss:.*must begin with https:\/\//,
    ],
    ["a target with a fragment", { target: "https://www.example.com/ws/chat#a" }, /target .*has a query or/],
    [
      "a target with an empty query",
      { target: "https://www.example.com/ws/chat?" },
      /Remove everything after the path/,
    ],
    [
      "a target with an empty fragment",
      { target: "https://www.example.com/ws/chat/#" },
      /Remove everything after the path/,
    ],
    [
      "a target with a user name",
      { target: "https://me@www.example.com/ws" },
      /target contains a user name or password/,
    ],
    [
      "a function without a name",
      { target: {} },
      /target\.lambda is missing\. It must be the ARN of a Lambda function/,
    ],
    [
      "a function of an invalid account",
      { target: { lambda: LAMBDA.replace("123456789012", "1234") } },
      /target\.lambda must be the ARN of a Lambda function/,
    ],
    [
      "routes that are a number",
      { routes: 7 },
      /routes must be an object of route keys and their targets, but received 7/,
    ],
    [
      "routes in a Map",
      { routes: new Map([["a", { lambda: LAMBDA }]]) },
      /routes must be an object of route keys/,
    ],
    ["routes in an array", { routes: [{ lambda: LAMBDA }] }, /routes must be an object of route keys/],
    [
      "a route that AWS reserves",
      route("$connect", { lambda: LAMBDA }),
      /the key "\$connect" of routes .*do not begin with \$/,
    ],
    [
      "a route that begins with a space",
      route(" a", { lambda: LAMBDA }),
      /of routes must be 1 to 128 characters/,
    ],
    [
      "a route that is too long",
      route("x".repeat(129), { lambda: LAMBDA }),
      /of routes must be 1 to 128 characters/,
    ],
    [
      "a route over http",
      route("moderate", "http://www.example.com/ws/x/y"),
      /routes\["moderate"\] .*must begin with https/,
    ],
    [
      "a route without a target",
      route("moderate", null),
      /routes\.moderate must be a URL such as .*but received null/,
    ],
    [
      "a route to a function in another region",
      route("moderate", { lambda: LAMBDA.replace("eu-west-1", "us-east-1") }),
      /routes\["moderate"\]\.lambda is in us-east-1, but an API can call only functions of its region/,
    ],
    [
      "a route to $disconnect's URL",
      route("a b", "https://www.example.com/ws/chat/disconnect/"),
      /routes\["a b"\] must end with a route name below the path of the view.*\/ws\/chat\/default/,
    ],
    [
      "a route to a host",
      route("moderate", "https://www.example.com"),
      /routes\["moderate"\] must end with a route name/,
    ],
    [
      "no expression",
      { routeSelectionExpression: "" },
      /routeSelectionExpression must be a string such as \$request/,
    ],
    [
      "an expression of two lines",
      { routeSelectionExpression: "a\nb" },
      /routeSelectionExpression must be a string/,
    ],
    [
      "a domain without a dot",
      domain({ name: "localhost" }),
      /domain\.name must be a domain name in lower case, such as ws\.example\.com/,
    ],
    [
      "a domain that ends with a dot",
      domain({ name: "ws.example.com." }),
      /domain\.name must be a domain name in lower case, such as/,
    ],
    ["a domain that is a number", { domain: 7 }, /domain must be a plain object, but received 7/],
    [
      "no certificate",
      domain({ certificateArn: undefined }),
      /domain\.certificateArn is undefined\. It must be the ARN of a certificate/,
    ],
    [
      "a mapping key with a slash",
      domain({ mappingKey: "a/b" }),
      /domain\.mappingKey must be at most 300.*but received "a\/b"/,
    ],
    [
      "a mapping key that is too long",
      domain({ mappingKey: "x".repeat(301) }),
      /domain\.mappingKey must be at most 300/,
    ],
    [
      "the other mapping key that AWS reserves",
      domain({ mappingKey: "sping" }),
      /domain\.mappingKey must be .* and not "ping" or "sping", but received "sping"/,
    ],
    [
      "a disabled default endpoint with a null domain",
      { disableExecuteApiEndpoint: true, domain: null },
      /domain must be a plain object, but received null/,
    ],
    [
      "a disabled default endpoint as a string",
      { disableExecuteApiEndpoint: "yes", ...domain({}) },
      /disableExecuteApiEndpoint must be true or false, but received "yes"/,
    ],
    [
      "tags as a string",
      { tags: "team" },
      /tags must be an object of keys and their values, but received "team"/,
    ],
    [
      "tags in a Map",
      { tags: new Map([["team", "chat"]]) },
      /tags must be an object of keys and their values/,
    ],
    ["an AWS tag prefix in capital letters", { tags: { "AWS:x": "1" } }, /the key "AWS:x" of tags must be/],
    ["a tag without a key", { tags: { "": "1" } }, /the key "" of tags must be/],
    ["a tag with other characters", { tags: { "a*b": "1" } }, /the key "a\*b" of tags must be/],
    ["a tag that is too long", { tags: { team: "x".repeat(257) } }, /tags\.team must be at most 256/],
    [
      "throttling below 0",
      { throttling: { ratePerSecond: -1, burst: 1 } },
      /ratePerSecond must be a number above 0/,
    ],
    [
      "infinite throttling",
      { throttling: { ratePerSecond: Infinity, burst: 1 } },
      /ratePerSecond must be a number/,
    ],
    [
      "throttling as a string",
      { throttling: { ratePerSecond: "9", burst: 1 } },
      /ratePerSecond must be a number above 0/,
    ],
    [
      "a burst of 0",
      { throttling: { ratePerSecond: 1, burst: 0 } },
      /throttling\.burst must be a whole number of at least 1/,
    ],
    [
      "a misspelled option of throttling",
      { throttling: { ratePerSecond: 1, bursts: 1 } },
      /throttling\.bursts is not an option\. Did you mean "burst"\?/,
    ],
    [
      "a misspelled option of the access log",
      { accessLog: { destinationARN: LOG_GROUP } },
      /accessLog\.destinationARN is not an option\. Did you mean "destinationArn"\?/,
    ],
    [
      "an access log format that is too long",
      { accessLog: { destinationArn: LOG_GROUP, format: `$context.requestId${"x".repeat(3072)}` } },
      /accessLog\.format must be one line of at most 3072 characters/,
    ],
    [
      "a timeout that is not an integer",
      { timeoutMs: 50.5 },
      /timeoutMs must be a whole number .*but received 50\.5/,
    ],
    [
      "a timeout that is a string",
      { timeoutMs: "1000" },
      /timeoutMs must be a whole number .*but received "1000"/,
    ],
    ["a description that is not a string", { description: 7 }, /description must be a string/],
    [
      "an option without a similar name",
      { zebra: 1 },
      /zebra is not an option\. The options are: name, region/,
    ],
  ])("with %s is rejected", (_, options, words) => {
    const attempt = () => define(options);
    expect(attempt).toThrow(ConfigurationError);
    expect(attempt).toThrow(words);
  });

  test.each([undefined, null, 7, "chat", true])("cannot be created from %j", (options) => {
    const attempt = () => defineGateway(options as unknown as GatewayOptions);
    expect(attempt).toThrow(ConfigurationError);
    expect(attempt).toThrow(/^defineGateway\(\): the options must be a plain object, but received /);
  });

  test("is rejected with an error that contains its name and never a password", () => {
    expect(() => define({ name: "chat production", timeoutMs: 0 })).toThrow(/^Gateway "chat production": /);
    for (const target of [
      "http://me:hunter2@www.example.com/ws",
      "https://me:hunter2@www.example.com/ws?a=1",
    ]) {
      expect(() => define({ target })).toThrow(/^Gateway "chat": target contains a user name or password/);
      expect(() => define({ target })).not.toThrow(/hunter2/);
    }
  });
});

test("viewOf() and accountOf() return the parts of a target", () => {
  expect(viewOf("https://www.example.com/ws/moderation/moderate")).toEqual({
    viewPath: "/ws/moderation",
    route: "moderate",
  });
  expect(accountOf({ lambda: LAMBDA })).toBe("123456789012");
});

describe("the gateways of an app", () => {
  const keys = { handlerKey: "handler", routeKey: "action" };
  const views = new Map([
    ["/ws/chat", keys],
    ["/ws/moderation", keys],
  ]);

  test("can have a path prefix before the paths of the views", () => {
    const prefixed = define({
      target: "https://www.example.com/realtime/ws/chat",
      routes: { moderate: "https://www.example.com/realtime/ws/moderation/moderate" },
    });
    expect([...definedGateways([prefixed], views).keys()]).toEqual(["chat"]);
    expect(definedGateways([define({ target: { lambda: LAMBDA } })], views).size).toBe(1);
  });

  test("that match no view are rejected with a list of the mounted views", () => {
    expect(() => definedGateways([define({ target: "https://www.example.com/ws/chats" })], views)).toThrow(
      'Gateway "chat": target https://www.example.com/ws/chats leads to no view. Use the path of a mounted view: /ws/chat, /ws/moderation.',
    );
    const astray = define({ routes: { moderate: "https://www.example.com/ws/moderation" } });
    expect(() => definedGateways([astray], views)).toThrow(/routes\["moderate"\] .* leads to no view/);
    const beyond = define({ target: "https://www.example.com/ws/chat/live" });
    expect(() => definedGateways([beyond], views)).toThrow(ConfigurationError);
  });

  test("F73 can select routes only by the routeKey or handlerKey of their views", () => {
    const routes = { moderate: "https://www.example.com/ws/moderation/moderate" };
    const by = (field: string) => define({ routes, routeSelectionExpression: `$request.body.${field}` });
    for (const field of ["action", "handler"]) expect(definedGateways([by(field)], views).size).toBe(1);
    expect(() => definedGateways([by("type")], views)).toThrow(
      'Gateway "chat": the route of a message is selected by "type", but the view at /ws/chat reads "action". Set routeKey = "type" in the view, or routeSelectionExpression: "$request.body.action" in the gateway.',
    );
    const [chat, moderation] = [{ ...keys, routeKey: "type" }, keys];
    const one = new Map([
      ["/ws/chat", chat],
      ["/ws/moderation", moderation],
    ]);
    expect(() => definedGateways([by("type")], one)).toThrow(/the view at \/ws\/moderation reads "action"/);
    // Without custom routes or without a plain field, there is nothing to check.
    const without = define({ routeSelectionExpression: "$request.body.type" });
    expect(definedGateways([without], views).size).toBe(1);
    const nested = define({ routes, routeSelectionExpression: "$request.body.a.b" });
    expect(definedGateways([nested], views).size).toBe(1);
  });

  test("F74 can have routes to other services, but no such target", () => {
    const service = "https://billing.example.com/ws/billing/default";
    const definition = define({ routes: { billing: { service } } });
    expect(definition.routes.get("billing")).toEqual({ service });
    expect(definedGateways([definition], views).size).toBe(1);
    expect(() => define({ target: { service } })).toThrow(/target must belong to this app/);
    expect(() => define({ routes: { billing: { service: "http://billing" } } })).toThrow(
      /routes\["billing"\]\.service http:\/\/billing must begin with https:/,
    );
    for (const wrong of [7, "", undefined])
      expect(() => define({ routes: { billing: { service: wrong } } })).toThrow(
        /\.service (?:is undefined\. It )?must be a URL/,
      );
  });

  test("can be an empty list, and keep their order", () => {
    expect(definedGateways([], views).size).toBe(0);
    const [one, two] = [define({ name: "b" }), define({ name: "a" })];
    expect([...definedGateways([one, two], views)]).toEqual([
      ["b", one],
      ["a", two],
    ]);
  });

  test("must have different names and be created by defineGateway()", () => {
    expect(() => definedGateways([define(), define()], views)).toThrow(/two are named "chat"/);
    for (const other of [{ ...define() }, {}, undefined, null, "chat"]) {
      const attempt = () => definedGateways([other as GatewayDefinition], views);
      expect(attempt).toThrow(ConfigurationError);
      expect(attempt).toThrow(
        "gateways: an entry was not created by defineGateway, so it is not checked. Write it as defineGateway({ … }).",
      );
    }
  });

  test("are found by name, or without a name if there is only one", () => {
    const one = definedGateways([define()], views);
    const two = definedGateways([define(), define({ name: "staging" })], views);
    expect(getDefinition(one, undefined).name).toBe("chat");
    expect(getDefinition(two, "staging").name).toBe("staging");
    expect(() => getDefinition(two, undefined)).toThrow(
      "The app defines several gateways, so a name is required. Use one of: chat, staging.",
    );
    expect(() => getDefinition(two, "stagin")).toThrow(/no gateway "stagin"\. Did you mean "staging"\?/);
    expect(() => getDefinition(one, "zebra")).toThrow(
      /^The app defines no gateway "zebra"\. Use one of: chat\.$/,
    );
    expect(() => getDefinition(one, "zebra")).toThrow(
      expect.objectContaining({ code: "SALLYPORT_UNKNOWN_NAME" }) as unknown as Error,
    );
    for (const name of [undefined, "chat"])
      expect(() => getDefinition(new Map(), name)).toThrow(/createSallyport\(\{ gateways: \[defineGateway/);
  });
});
