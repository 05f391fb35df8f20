import { connect } from "node:net";

/**
 * Request targets that a lenient parser turns into `path`. A check in front of Sallyport, such as a proxy's rule for `/api/`, sees another
 * path, so that none of them may reach Sallyport.
 *
 * @param path one of Sallyport's paths, such as `/api/ws-token`
 */
export function hostileTargets(path: string): readonly string[] {
  const [, first = "", rest = ""] = /^\/([^/]+)(\/.*)$/.exec(path) ?? [];
  const slashes = (separator: string) => path.slice(1).replaceAll("/", separator);
  const letter = first.charCodeAt(0).toString(16);
  return [
    // Dot segments, as they are and encoded
    `/x/..${path}`,
    `/x/../..${path}`,
    `/.${path}`,
    `/%2e${path}`,
    `/x/%2e%2e${path}`,
    `/x/%2E%2E${path}`,
    `/x/.%2e${path}`,
    `/x/%2E.${path}`,
    `/${first}/.${rest}`,
    `/${first}/x/..${rest}`,
    `/../${first}${rest}`,
    `${path}/.`,
    `${path}/x/..`,
    `/x/..;${path}`,
    `/x/..%2f${path.slice(1)}`,
    // Slashes that are repeated, encoded or replaced by backslashes
    `/${path}`,
    `//x${path}`,
    `//x/..${path}`,
    `/${first}/${rest}`,
    `/${slashes("%2f")}`,
    `/${slashes("%2F")}`,
    `/${slashes("\\")}`,
    `/${slashes("%5c")}`,
    `/${slashes("%5C")}`,
    `\\${path.slice(1)}`,
    `/x\\..${path}`,
    `/x/..\\${path.slice(1)}`,
    `/\\${path.slice(1)}`,
    `${path}/`,
    `${path}%2f`,
    `${path}\\`,
    // Characters that are encoded without need, or that parsers cut off
    `/%${letter}${path.slice(2)}`,
    `/%${letter.toUpperCase()}${path.slice(2)}`,
    `/%25${letter}${path.slice(2)}`,
    `${path}%00`,
    `${path}%20`,
    `${path}%09`,
    `${path}%0a`,
    `${path}%3f`,
    `${path}%3fx=y`,
    `${path};`,
    `${path};x=y`,
    `/${first};x=y${rest}`,
    `/;${path}`,
    `${path}.`,
    `${path}#`,
    `${path}#x`,
    `${path}#?x`,
    `/x#/..${path}`,
    `/x?/..${path}`,
    `?${path}`,
    `/?${path}`,
    path.toUpperCase(),
    // The absolute form, with and without an authority
    `http://x${path}`,
    `http://x/y/..${path}`,
    `http://x/%2e${path}`,
    `HTTP://x${path}`,
    `http:${path}`,
    `http:/${path}`,
    `http:\\\\x${path}`,
    `https://x${path}`,
    `x:${path}`,
    `file://${path}`,
    path.slice(1),
  ];
}

/** Targets with bytes that URL parsers strip. Node's HTTP parser rejects some of them. */
export function strippedTargets(path: string): readonly string[] {
  return [
    `${path}\t`,
    `\t${path}`,
    `${path.slice(0, 2)}\t${path.slice(2)}`,
    `${path}\v`,
    `${path}\r`,
    `${path.slice(0, 2)}\n${path.slice(2)}`,
    `${path}\0`,
    `${path}\u00a0`,
    `${path}\u0085`,
  ];
}

/** Sends a request whose target is written as it is, and returns the response's status and body. */
export async function requestAsWritten(
  base: string,
  target: string,
  { method = "POST", headers = {} }: { method?: string; headers?: Readonly<Record<string, string>> } = {},
): Promise<{ readonly status: number; readonly text: string }> {
  const { hostname, port, host } = new URL(base);
  const lines = Object.entries({ host, "content-length": "0", connection: "close", ...headers });
  const socket = connect(Number(port), hostname);
  socket.write(
    Buffer.from(
      `${method} ${target} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`,
      "latin1",
    ),
  );
  let text = "";
  for await (const chunk of socket.setEncoding("latin1")) text += chunk;
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(text) ?? [];
  return { status: Number(status), text };
}
