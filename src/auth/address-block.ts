import ipaddr from "ipaddr.js";

/**
 * Returns the block of addresses that one subscriber holds, or undefined for an invalid address.
 *
 * The block is an IPv4 address, or a /64 of IPv6. An IPv4-mapped IPv6 address counts as IPv4.
 */
export function addressBlock(text: string): string | undefined {
  if (!ipaddr.isValid(text)) return undefined;
  const address = ipaddr.process(text);
  if (address.kind() === "ipv4") return address.toString();
  const parts = (address as ipaddr.IPv6).parts.slice(0, 4);
  return `${parts.map((part) => part.toString(16)).join(":")}::/64`;
}
