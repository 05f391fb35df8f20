import { afterEach, beforeEach, expect, test } from "vitest";
import { defineGateway } from "../../src/aws.ts";
import { INTERNAL } from "../../src/internal.ts";
import { isPostgres } from "../postgres/database.ts";
import { djangoDatabase, flag, type TestDjango, text, usersSql } from "./django-database.ts";
import { importInto, openShop, type Shop } from "./import-shop.ts";

const APP = "django_aws_api_gateway_websockets";
const NOW = "'2030-01-01 00:00:00+00'";

let django: TestDjango;
let shop: Shop;
beforeEach(async () => {
  [django, shop] = await Promise.all([djangoDatabase("default", "package"), openShop()]);
});
afterEach(async () => {
  await Promise.all([django.drop(), shop.close()]);
});

const FIELDS = {
  api_description: "",
  default_channel_name: "",
  domain_name: "",
  target_base_endpoint: "https://www.example.com/ws/shop/",
  certificate_arn: "",
  hosted_zone_id: "",
  api_key_selection_expression: "$request.header.x-api-key",
  route_selection_expression: "$request.body.action",
  route_key: "$default",
  stage_name: "production",
  stage_description: "",
  deployment_id: "",
  tags: "{}",
  api_id: "a1b2c3d4e5",
  api_endpoint: "wss://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com",
  api_gateway_domain_name: "",
  api_mapping_id: "",
};

function gatewaySql(id: number, name: string, fields: Partial<typeof FIELDS> = {}): string {
  const row = { api_name: name, ...FIELDS, ...fields };
  return `insert into ${APP}_apigateway (id, ${Object.keys(row).join(", ")}, api_created, custom_domain_created, created_on, updated_on)
    values (${id}, ${Object.values(row).map(text).join(", ")}, ${flag(true)}, ${flag(false)}, ${NOW}, ${NOW});`;
}

function routeSql(id: number, gateway: number, key: string, url: string): string {
  return `insert into ${APP}_apigatewayadditionalroute (id, name, route_key, integration_url, deployed, created_on, updated_on, api_gateway_id)
    values (${id}, ${text(key)}, ${text(key)}, ${text(url)}, ${flag(true)}, ${NOW}, ${NOW}, ${gateway});`;
}

test("a gateway and its routes become code that defineGateway accepts, and nothing is written", async () => {
  const certificateArn = "arn:aws:acm:eu-west-1:123456789012:certificate/abc";
  await django.run(
    gatewaySql(1, "shop", {
      api_description: "The shop",
      domain_name: "WS.example.com",
      certificate_arn: certificateArn,
      default_channel_name: "lobby",
      tags: '{"team": "shop"}',
      route_selection_expression: "$request.body.kind",
    }) + routeSql(1, 1, "orders", "https://www.example.com/ws/shop/orders"),
  );
  const report = await importInto(shop.sallyport, django.url, { apply: true });
  const [gateway] = report.gateways;
  expect(gateway?.options).toEqual({
    name: "shop",
    region: "eu-west-1",
    stage: "production",
    target: "https://www.example.com/ws/shop",
    description: "The shop",
    domain: { name: "ws.example.com", certificateArn },
    tags: { team: "shop" },
    routeSelectionExpression: "$request.body.kind",
    routes: { orders: "https://www.example.com/ws/shop/orders" },
  });
  expect(defineGateway(gateway?.options as never).name).toBe("shop");
  expect(report.counts).toMatchObject({ gateways: { printed: 1 }, routes: { printed: 1 } });
  expect(report.notImported).toEqual([
    'gateway "shop", default_channel_name: set defaultChannel in the view',
  ]);
  expect(report.lines).toContain(
    'Then assign the existing API: npx sallyport gateway import "shop" a1b2c3d4e5',
  );
  expect(report.lines.join("\n")).toContain('defineGateway({\n  "name": "shop",');
  expect(await shop.sallyport[INTERNAL].provisioning.store.gateways.list()).toEqual([]);
});

test("a gateway that the app defines is kept, and its code is not printed", async () => {
  await django.run(
    gatewaySql(1, "shop") + routeSql(1, 1, "orders", "https://www.example.com/ws/shop/orders"),
  );
  const first = await importInto(shop.sallyport, django.url);
  const gateways = [defineGateway(first.gateways[0]?.options as never)];
  const defined = shop.sallyport[INTERNAL].with({ gateways });
  const second = await importInto(defined, django.url);
  expect(second.counts).toMatchObject({ gateways: { kept: 1, printed: 0 }, routes: { kept: 1, printed: 0 } });
  expect(second.lines.join("\n")).not.toContain("defineGateway");
});

test("a gateway or route that Sallyport rejects is skipped with the reason", async () => {
  await django.run(
    [
      gatewaySql(1, "insecure", { target_base_endpoint: "http://www.example.com/ws/" }),
      gatewaySql(2, "never created", { api_endpoint: "", api_id: "" }),
      gatewaySql(3, "no stage", { stage_name: "" }),
      gatewaySql(4, "shop", { api_id: "a; rm -rf ~" }),
      gatewaySql(5, "tags", { tags: '{"aws:x": "1"}' }),
      gatewaySql(6, `na"me\u001b'; --`),
      routeSql(1, 4, "$custom", "https://www.example.com/ws/shop/orders"),
      routeSql(2, 4, "plain", "http://www.example.com/ws/shop/plain"),
      routeSql(3, 4, "stop", "https://www.example.com/ws/shop/disconnect"),
      routeSql(4, 1, "lost", "https://www.example.com/ws/shop/lost"),
      routeSql(5, 4, "good", "https://www.example.com/ws/shop/good"),
      routeSql(6, 4, "__proto__", "https://www.example.com/ws/shop/proto"),
    ].join("\n"),
  );
  const report = await importInto(shop.sallyport, django.url, { apply: true });
  const reasons = Object.fromEntries(
    report.notes.flatMap(({ reason, examples }) => examples.map((example) => [example, reason])),
  );
  expect(reasons).toMatchObject({
    insecure: expect.stringContaining("must begin with https://"),
    "never created": expect.stringContaining("its region is not stored"),
    "no stage": expect.stringContaining("stage must be"),
    tags: expect.stringContaining("aws:"),
    "na\"me\u001b'; --": expect.stringContaining("name must be"),
    "shop: $custom": expect.stringContaining("do not begin with $"),
    "shop: plain": expect.stringContaining("must begin with https://"),
    "shop: stop": expect.stringContaining("must end with a route name"),
    "insecure: lost": "its gateway is skipped",
  });
  expect(report.gateways.map(({ name }) => name)).toEqual(["shop"]);
  expect(report.lines.join("\n")).not.toContain("rm -rf");
  expect(report.gateways[0]?.options).toMatchObject({
    routes: { good: "https://www.example.com/ws/shop/good" },
  });
  const { routes } = report.counts;
  expect((routes?.printed ?? 0) + (routes?.skipped ?? 0)).toBe(6);
});

test("tokens, connections and counts of limits are listed as not imported", async () => {
  const address = isPostgres ? "'192.0.2.1'::inet" : "'192.0.2.1'";
  await django.run(`${usersSql([{ id: 1 }])}
    insert into ${APP}_websockettoken (id, token, session_key, created_at, used, user_id) values (1, 'secret-token', 's', ${NOW}, ${flag(false)}, 1);
    insert into ${APP}_websocketsession (id, connection_id, channel_name, connected, request_count, created_on, updated_on, user_id)
      values (1, 'c1', '', ${flag(true)}, 1, ${NOW}, ${NOW}, 1), (2, 'c2', '', ${flag(true)}, 1, ${NOW}, ${NOW}, 1);
    insert into ${APP}_connectionratelimit (id, ip_address, attempt_time, successful, user_id) values (1, ${address}, ${NOW}, ${flag(true)}, 1);`);
  const report = await importInto(shop.sallyport, django.url, { apply: true });
  expect(report.notImported).toEqual([
    `${APP}_websockettoken (1 row): tokens are valid for one minute. Clients request new ones`,
    `${APP}_websocketsession (2 rows): connections end at the switch. Clients connect again`,
    `${APP}_connectionratelimit (1 row): counts of the last minute. Sallyport has its own limits`,
  ]);
  expect(JSON.stringify(report)).not.toContain("secret-token");
});
