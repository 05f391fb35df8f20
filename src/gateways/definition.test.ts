import { describe, expect, test } from "vitest";
import { ConfigurationError } from "../errors.ts";
import { definedAs, definedGateways, defineGateway, type GatewayOptions } from "./definition.ts";

const CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d";
const LAMBDA = "arn:aws:lambda:eu-west-1:123456789012:function:chat:live";

const define = (options: object = {}) =>
  defineGateway({
    name: "chat",
    region: "eu-west-1",
    target: "https://www.example.com/ws/chat",
    ...options,
  } as GatewayOptions);

describe("a definition", () => {
  test("is complete, and cannot be changed", () => {
    const definition = define();
    expect(definition).toMatchObject({
      stage: "production",
      routeSelectionExpression: "$request.body.action",
      domain: undefined,
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

  test("takes a target with or without a slash at its end, and a function by any of its names", () => {
    expect(define({ target: "https://www.example.com/ws/chat/" }).target).toBe(
      "https://www.example.com/ws/chat",
    );
    for (const lambda of [LAMBDA, LAMBDA.replace(":live", ""), LAMBDA.replace(":live", ":$LATEST")])
      expect(define({ target: { lambda } }).target).toEqual({ lambda });
  });

  test("keeps routes and tags in the order of their names, so that nothing rests on how they were written", () => {
    const one = define({ routes: { b: "https://x.example.com/ws/b/b", a: "https://x.example.com/ws/a/a" } });
    expect([...one.routes.keys()]).toEqual(["a", "b"]);
    expect(Object.keys(define({ tags: { b: "1", a: "2" } }).tags)).toEqual(["a", "b"]);
  });

  test("fills in the format of an access log, and takes a log group's ARN as AWS lists it", () => {
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
    ["no name", { name: "" }, /name is 1 to 128 letters/],
    ["a name too long", { name: "x".repeat(129) }, /name is 1 to 128 letters/],
    ["a name with other signs", { name: "chat/production" }, /name is 1 to 128 letters/],
    ["a name that is no text", { name: 7 }, /name is 1 to 128 letters/],
    ["no region", { region: undefined }, /region is one of AWS's, such as eu-west-1/],
    ["a region that is none", { region: "Ireland" }, /region is one of AWS's/],
    ["a stage with a slash", { stage: "a/b" }, /stage is 1 to 128 letters, digits, _ or -, not "a\/b"/],
    ["an empty stage", { stage: "" }, /stage is 1 to 128 letters/],
    ["no target", { target: undefined }, /target is a URL such as https:/],
    ["a target that is null", { target: null }, /target is a URL such as https:/],
    ["a target over http", { target: "http://www.example.com/ws/chat" }, /must be https:\/\//],
    ["a target with a query", { target: "https://www.example.com/ws/chat?a=1" }, /has a query or fragment/],
    [
      "a target with a password",
      { target: "https://me:secret@www.example.com/ws" },
      /has a name or password in it/,
    ],
    ["a target too long", { target: `https://www.example.com/${"x".repeat(2000)}` }, /longer than 2000/],
    [
      "a function that is no ARN",
      { target: { lambda: "chat" } },
      /target\.lambda is a function's ARN, not "chat"/,
    ],
    [
      "a function elsewhere",
      { target: { lambda: LAMBDA.replace("eu-west-1", "us-east-1") } },
      /is in us-east-1/,
    ],
    [
      "a route that begins with $",
      route("$other", "https://www.example.com/ws/chat/x"),
      /does not begin with \$/,
    ],
    [
      "a route without a name",
      route("", "https://www.example.com/ws/chat/x"),
      /a route key is 1 to 128 characters/,
    ],
    [
      "a route to $connect's URL",
      route("moderate", "https://www.example.com/ws/chat/connect"),
      /ends with a name of its own.*\/ws\/chat\/moderate/,
    ],
    [
      "a route's URL that ends with nothing a route is called",
      route("a b", "https://www.example.com/ws/chat/ä"),
      /ends with a name of its own/,
    ],
    [
      "too many routes",
      {
        routes: Object.fromEntries(
          Array.from({ length: 298 }, (_, n) => [`r${n}`, `https://x.example.com/ws/r${n}`]),
        ),
      },
      /298 keys; an API has 300/,
    ],
    [
      "a domain in capitals",
      domain({ name: "WS.example.com" }),
      /domain\.name is a name such as ws\.example\.com/,
    ],
    ["a domain that is a URL", domain({ name: "https://ws.example.com" }), /domain\.name is a name/],
    [
      "a certificate that is none",
      domain({ certificateArn: "arn:aws:iam::123456789012:server-certificate/x" }),
      /a certificate in ACM/,
    ],
    [
      "a certificate elsewhere",
      domain({ certificateArn: CERTIFICATE.replace("eu-west-1", "us-east-1") }),
      /must be in eu-west-1/,
    ],
    ["a mapping key with a space", domain({ mappingKey: "a b" }), /mappingKey is up to 300/],
    ["a mapping key that AWS keeps", domain({ mappingKey: "ping" }), /keeps for itself/],
    [
      "a misspelt option of the domain",
      domain({ certificateARN: "x" }),
      /no option "certificateARN".*Did you mean "certificateArn"/,
    ],
    [
      "the default endpoint off without a domain",
      { disableExecuteApiEndpoint: true },
      /nothing to connect to without a domain/,
    ],
    ["a tag of AWS's", { tags: { "aws:x": "1" } }, /begin with aws: are AWS's/],
    ["a tag of ours", { tags: { "sallyport:gateway": "other" } }, /with sallyport: ours/],
    ["a tag whose value is none", { tags: { team: 7 } }, /tags\["team"\] is no value/],
    [
      "too many tags",
      { tags: Object.fromEntries(Array.from({ length: 49 }, (_, n) => [`t${n}`, ""])) },
      /tags has 49; at most 48/,
    ],
    [
      "throttling of 0",
      { throttling: { ratePerSecond: 0, burst: 1 } },
      /above 0: with 0 every connect would get 429/,
    ],
    [
      "a burst that is no whole number",
      { throttling: { ratePerSecond: 1, burst: 1.5 } },
      /burst is a whole number/,
    ],
    ["half of throttling", { throttling: { ratePerSecond: 1 } }, /burst is a whole number/],
    ["a log that goes nowhere", { accessLog: { destinationArn: "chat" } }, /ARN of a log group/],
    [
      "a log to another stream",
      { accessLog: { destinationArn: "arn:aws:firehose:eu-west-1:123456789012:deliverystream/chat" } },
      /named amazon-apigateway-/,
    ],
    [
      "a log that names no request",
      {
        accessLog: {
          destinationArn: "arn:aws:logs:eu-west-1:123456789012:log-group:chat",
          format: "$context.status",
        },
      },
      /has \$context\.requestId in it/,
    ],
    ["a timeout too short", { timeoutMs: 49 }, /from 50 to 29000, not 49/],
    ["a timeout too long", { timeoutMs: 29_001 }, /from 50 to 29000, not 29001/],
    ["replies that are neither", { replies: "both" }, /replies is "route" or "push", not "both"/],
    ["a description too long", { description: "x".repeat(1025) }, /up to 1024 characters/],
    ["a misspelt option", { rotues: {} }, /no option "rotues".*Did you mean "routes"/],
  ])("with %s is refused", (_, options, words) => {
    const attempt = () => define(options);
    expect(attempt).toThrow(ConfigurationError);
    expect(attempt).toThrow(words);
  });
});

describe("the gateways of an app", () => {
  const views = ["/ws/chat", "/ws/moderation"];

  test("lead to its views, whatever comes before their paths", () => {
    const prefixed = define({
      target: "https://www.example.com/realtime/ws/chat",
      routes: { moderate: "https://www.example.com/realtime/ws/moderation/moderate" },
    });
    expect([...definedGateways([prefixed], views).keys()]).toEqual(["chat"]);
    expect(definedGateways([define({ target: { lambda: LAMBDA } })], views).size).toBe(1);
  });

  test("that lead nowhere are named, with the views there are", () => {
    expect(() => definedGateways([define({ target: "https://www.example.com/ws/chats" })], views)).toThrow(
      'Gateway "chat": target https://www.example.com/ws/chats leads to no view. Views are mounted at /ws/chat, /ws/moderation.',
    );
    const astray = define({ routes: { moderate: "https://www.example.com/ws/moderation" } });
    expect(() => definedGateways([astray], views)).toThrow(/routes\["moderate"\] .* leads to no view/);
  });

  test("each have a name of their own, and are made by defineGateway", () => {
    expect(() => definedGateways([define(), define()], views)).toThrow(/two are called "chat"/);
    expect(() => definedGateways([{ ...define() }], views)).toThrow(/write each as defineGateway/);
  });

  test("are found by name, or without one where there is one only", () => {
    const one = definedGateways([define()], views);
    const two = definedGateways([define(), define({ name: "staging" })], views);
    expect(definedAs(one, undefined).name).toBe("chat");
    expect(definedAs(two, "staging").name).toBe("staging");
    expect(() => definedAs(two, undefined)).toThrow("Which gateway? There are: chat, staging.");
    expect(() => definedAs(two, "stagin")).toThrow(/no gateway "stagin"\. Did you mean "staging"\?/);
    expect(() => definedAs(new Map(), undefined)).toThrow(/createSallyport\(\{ gateways: \[defineGateway/);
  });
});
