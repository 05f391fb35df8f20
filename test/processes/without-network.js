// Makes requests to other machines fail, as they do on a machine without a network. Tests of
// `sallyport doctor --page` preload this file.
const { fetch } = globalThis;

globalThis.fetch = async (input, init) => {
  const { hostname } = new URL(input instanceof Request ? input.url : input);
  if (/^(localhost|127\.0\.0\.1)$/.test(hostname)) return fetch(input, init);
  const cause = Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { code: "ENOTFOUND" });
  throw new TypeError("fetch failed", { cause });
};
