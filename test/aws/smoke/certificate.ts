import { spawnSync } from "node:child_process";

/** Returns a key and a certificate for 127.0.0.1 and localhost, or undefined without openssl. */
export function selfSigned(): { readonly key: string; readonly cert: string } | undefined {
  const options =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=local " +
    "-addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout -";
  const { status, stdout } = spawnSync("openssl", options.split(" "), { encoding: "utf8" });
  if (status !== 0) return undefined;
  const [key, cert] = ["PRIVATE KEY", "CERTIFICATE"].map(
    (kind) => new RegExp(`-----BEGIN ${kind}-----[^]*?-----END ${kind}-----\n`).exec(stdout)?.[0],
  );
  return key && cert ? { key, cert } : undefined;
}
