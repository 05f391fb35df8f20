import type { Gateway, GatewayDefinition } from "../../index.ts";
import { isLoopbackName } from "../../protocol/loopback.ts";
import { suffixOf } from "../../protocol/partitions.ts";
import { type Check, type DoctorContext, problem } from "./check.ts";
import { type Finding, ok, skipped, warning } from "./finding.ts";

/** Whether a URL leads to this machine. */
export function isLocalUrl(url: URL): boolean {
  return isLoopbackName(url.hostname);
}

/** Whether a gateway is a local one, such as that of `sallyport dev`. */
export function isLocalGateway({ endpoint }: Gateway): boolean {
  return isLocalUrl(new URL(endpoint));
}

/** A browser sends the cookies of the page to the host of the WebSocket. */
export const hostsCheck: Check = {
  name: "hosts",
  readsTables: true,
  async run(context) {
    const { inspection, page, definitions } = context;
    if (inspection.settings.token.binding === "token") {
      return [ok('The binding of tokens is "token", so $connect needs no cookies.')];
    }
    const gateways = await context.gateways();
    const locals = gateways.filter(isLocalGateway);
    const findings = [...definitions.values()].map((definition) => {
      const registered = gateways.find(({ name }) => name === definition.name);
      return checkDefined(context, definition, registered);
    });
    for (const { name } of gateways.filter(
      (gateway) => !isLocalGateway(gateway) && !definitions.has(gateway.name),
    )) {
      findings.push(
        skipped(`The WebSocket URL of gateway "${name}" is not known, because the app does not define it.`),
      );
    }
    const [local] = locals;
    if (page && local && (isLocalUrl(page) || definitions.size === 0)) findings.push(checkLocal(page, local));
    if (findings.length > 0) return findings;
    return [
      skipped(
        "No page was compared with the host of a gateway.",
        "Pass the URL of your page: --page http://localhost:3000.",
      ),
    ];
  },
};

/** `sallyport dev` serves WebSockets on localhost. */
function checkLocal(page: URL, { name, endpoint }: Gateway): Finding {
  const socket = new URL(endpoint);
  socket.protocol = "ws:";
  const at = (hostname: string) => `ws://${hostname}:${socket.port}${socket.pathname}`;
  if (page.hostname === "localhost") {
    return ok(`${page.origin} and ${at("localhost")} (gateway "${name}") have the same host name.`);
  }
  const origin = `${page.protocol}//localhost${page.port === "" ? "" : `:${page.port}`}`;
  return warning(
    `The page is on "${page.hostname}", and sallyport dev serves ${at("localhost")}. Browsers send no cookies from one host name to another.`,
    isLocalUrl(page)
      ? `Open the page at ${origin}, or let it connect to ${at(page.hostname)}.`
      : `Open the page at ${origin}.`,
  );
}

/** The cookies of a page reach a WebSocket below the same domain only. */
function checkDefined(
  context: DoctorContext,
  { name, region, domains }: GatewayDefinition,
  registered: Gateway | undefined,
): Finding {
  const { page, isDefaultPage } = context;
  const host = domains[0]?.name;
  const fix = 'Add a domain below that of the page to the gateway, or set token: { binding: "token" }.';
  if (host === undefined) {
    const own = `${registered?.apiId ?? "<api>"}.execute-api.${region}.${suffixOf(region)}`;
    return problem(
      context,
      `Gateway "${name}" has no domain, so its host is ${own}. No cookies of your page reach it.`,
      fix,
    );
  }
  if (!page || isDefaultPage)
    return skipped(
      `No page was compared with ${host} (gateway "${name}").`,
      "Pass the URL of your page: --page https://www.example.com.",
    );
  const parent = sharedDomain(page.hostname, host);
  if (parent !== undefined) {
    return ok(
      `The page and ${host} (gateway "${name}") are below ${parent}. Set the cookies of the login for this domain.`,
    );
  }
  if (isLocalUrl(page)) return skipped(`A local page does not connect to ${host} (gateway "${name}").`);
  return problem(
    context,
    `The page is on "${page.hostname}", and gateway "${name}" is on "${host}". Browsers send no cookies from one to the other.`,
    fix,
  );
}

/**
 * Returns the longest domain that contains both hosts and for which a host can set cookies, or
 * undefined.
 */
export function sharedDomain(one: string, other: string): string | undefined {
  const [labels = [], others] = [one, other].map((host) => host.toLowerCase().split(".").reverse());
  const shared: string[] = [];
  for (const [index, label] of labels.entries()) {
    if (label !== others?.[index]) break;
    shared.unshift(label);
  }
  const isHost = shared.length === Math.min(labels.length, others?.length ?? 0);
  return isSuffix(shared, isHost) ? undefined : shared.join(".");
}

/**
 * Returns whether a domain is a suffix below which different owners have names. Browsers set no
 * cookies for such a domain. This is a heuristic in place of the Public Suffix List, which has
 * 10 000 entries.
 *
 * @param isHost whether the domain is a host itself
 */
function isSuffix(labels: readonly string[], isHost: boolean): boolean {
  const [second = "", top = ""] = labels.slice(-2);
  if (labels.length < 2) return true;
  if (labels.length === 2 && top.length === 2 && SECOND_LEVEL.has(second)) return true;
  const domain = labels.join(".");
  if (HOSTING.has(domain)) return true;
  return !isHost && REGIONAL_HOSTING.some((suffix) => domain.endsWith(`.${suffix}`));
}

/** Labels that are a part of the suffix below a two-letter top-level domain, such as co.uk. */
const SECOND_LEVEL: ReadonlySet<string> = new Set([
  "ac",
  "co",
  "com",
  "edu",
  "go",
  "gov",
  "ne",
  "net",
  "or",
  "org",
]);

/** Domains in which the names of customers are below labels of a service and a region. */
const REGIONAL_HOSTING = ["amazonaws.com", "amazonaws.com.cn", "elasticbeanstalk.com"];

/** Domains in which each customer has a subdomain. */
const HOSTING: ReadonlySet<string> = new Set([
  ...REGIONAL_HOSTING,
  "azurewebsites.net",
  "cloudfront.net",
  "fly.dev",
  "github.io",
  "herokuapp.com",
  "netlify.app",
  "onrender.com",
  "pages.dev",
  "vercel.app",
  "web.app",
]);
