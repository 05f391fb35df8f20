import { Resolver } from "node:dns/promises";
import { isIP } from "node:net";
import { type Check, type DoctorContext, problem } from "./check.ts";
import { type Finding, ok, skipped, warning } from "./finding.ts";
import { isLocalGateway } from "./hosts.ts";

/** Maximum duration of one query, in milliseconds. */
const QUERY_MS = 2000;
/** The answers that mean that a name does not exist, or has no address. */
const MISSING = new Set(["ENOTFOUND", "ENODATA"]);

/** The host names of the gateways have addresses. */
export const dnsCheck: Check = {
  name: "dns",
  readsTables: true,
  async run(context, signal) {
    const remote = (await context.gateways()).filter((gateway) => !isLocalGateway(gateway));
    const domains = [...context.definitions.values()].flatMap((definition) =>
      definition.domains.map(({ name }) => name),
    );
    const hosts = [...domains, ...remote.map(({ endpoint }) => new URL(endpoint).hostname)];
    return resolveHosts(context, hosts, signal);
  },
};

/** @param resolver the DNS client. Default: the DNS servers of this machine */
export async function resolveHosts(
  context: Pick<DoctorContext, "isProduction">,
  hosts: readonly string[],
  signal: AbortSignal,
  resolver = new Resolver({ timeout: QUERY_MS, tries: 1 }),
): Promise<readonly Finding[]> {
  const names = [...new Set(hosts)].filter((host) => isIP(host) === 0);
  if (names.length === 0) return [skipped("No gateway has a public host name.")];
  const cancel = () => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  const codes = await Promise.all(names.map((name) => failureOf(resolver, name)));
  const resolved = names.filter((_, index) => codes[index] === undefined);
  const findings = resolved.length === 0 ? [] : [ok(`In DNS: ${resolved.join(", ")}.`)];
  for (const [index, name] of names.entries()) {
    const code = codes[index];
    if (code === undefined) continue;
    findings.push(
      MISSING.has(code)
        ? problem(
            context as DoctorContext,
            `${name} has no address in DNS (${code}).`,
            "npx sallyport gateway status prints the DNS records: create them.",
          )
        : warning(
            `${name} could not be looked up in DNS (${code}).`,
            "Check the network, and run the command again.",
          ),
    );
  }
  return findings;
}

/** Returns the error code of a lookup, or undefined if the name has an address. */
async function failureOf(resolver: Resolver, name: string): Promise<string | undefined> {
  const lookups = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
  const codes: string[] = [];
  for (const lookup of lookups) {
    if (lookup.status === "fulfilled") return undefined;
    codes.push(String((lookup.reason as NodeJS.ErrnoException).code));
  }
  return codes.find((code) => !MISSING.has(code)) ?? codes[0];
}
