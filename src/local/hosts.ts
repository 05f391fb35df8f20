import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";

interface HostSettings {
  /** The address that the gateway listens on. */
  readonly host: string;
  /**
   * Names that an option adds, such as that of a container. `*.example.test` matches all names
   * below `example.test`.
   */
  readonly allowedHosts: readonly string[];
  /** Returns true for a name of an API or a domain. */
  readonly isGatewayHost: (name: string) => boolean;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

const NAME = /^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/i;

/**
 * Checks the Host header of requests, so that a web page cannot use the gateway.
 *
 * A page of another site can let its host name resolve to this machine (DNS rebinding). Its
 * requests are then same-origin, and only their Host header reveals the other site.
 */
export class AllowedHosts {
  readonly #names: ReadonlySet<string>;
  readonly #suffixes: readonly string[];
  readonly #isGatewayHost: (name: string) => boolean;
  #hasReported = false;

  constructor({ host, allowedHosts, isGatewayHost }: HostSettings) {
    allowedHosts.forEach((name, index) => {
      if (NAME.test(name) || isIP(name) !== 0) return;
      throw new ConfigurationError(
        `startLocalGateway(): allowedHosts[${index}] must be the name or address of a host, without a port, such as "gateway" or ` +
          `"*.example.test", but received ${formatValue(name)}.`,
      );
    });
    const names = [host, ...allowedHosts].map((name) => name.toLowerCase());
    this.#names = new Set(names.filter((name) => !name.startsWith("*.")));
    this.#suffixes = names.filter((name) => name.startsWith("*.")).map((name) => name.slice(1));
    this.#isGatewayHost = isGatewayHost;
  }

  /**
   * Returns false for a request that names another host, and reports the first such request on the
   * console.
   */
  allows({ headers: { host }, socket }: IncomingMessage): boolean {
    // Browsers send a Host header with every request.
    if (host === undefined) return true;
    const name = nameOf(host);
    if (name !== undefined && this.#isAllowed(name, socket.localAddress)) return true;
    this.#report(host, name);
    return false;
  }

  #isAllowed(name: string, localAddress: string | undefined): boolean {
    if (isLoopbackName(name) || this.#names.has(name)) return true;
    if (this.#suffixes.some((suffix) => name.endsWith(suffix))) return true;
    return isIP(name) === 0 ? this.#isGatewayHost(name) : name === withoutMapping(localAddress);
  }

  #report(host: string, name: string | undefined): void {
    if (this.#hasReported) return;
    this.#hasReported = true;
    const isName = name !== undefined && (NAME.test(name) || isIP(name) !== 0);
    const option = isName ? name : "the name";
    console.warn(
      `sallyport local gateway: a request was answered 403, because its Host header ${asciiOnly(formatValue(host))} is not a known ` +
        "name of this machine. A web page could otherwise use the gateway through DNS rebinding. If the name is yours, set " +
        `allowedHosts: ["${option}"], or pass --allowed-host ${option}. Further requests are not reported.`,
    );
  }
}

/** Returns whether an address is in 127.0.0.0/8 or is ::1, also as an IPv4 address in IPv6. */
export function isLoopbackAddress(address: string | undefined): boolean {
  const plain = withoutMapping(address) ?? "";
  const version = isIP(plain);
  return version !== 0 && LOOPBACK.check(plain, version === 4 ? "ipv4" : "ipv6");
}

/** Returns whether a Host header names this machine by a loopback name or address. */
export function isLoopbackHost(host: string | undefined): boolean {
  const name = nameOf(host ?? "");
  return name !== undefined && isLoopbackName(name);
}

function isLoopbackName(name: string): boolean {
  return name === "localhost" || name.endsWith(".localhost") || isLoopbackAddress(name);
}

/** Returns the name of a Host header without its port, or undefined if it is malformed. */
function nameOf(host: string): string | undefined {
  const [, address, name] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/@]+))(?::\d*)?$/i.exec(host) ?? [];
  return (address ?? name)?.toLowerCase().replace(/\.$/, "");
}

function withoutMapping(address: string | undefined): string | undefined {
  return address?.replace(/^::ffff:(?=\d+\.)/, "");
}

/** Escapes characters outside ASCII, because a terminal interprets some of them as commands. */
function asciiOnly(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
