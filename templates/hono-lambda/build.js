import { cp } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

// dist/ is the code of the functions. Their handlers are exports of lambda.mjs and maintenance.mjs.
await build({
  entryPoints: ["src/lambda.ts", "src/maintenance.ts"],
  outdir: "dist",
  outExtension: { ".js": ".mjs" },
  bundle: true,
  minify: true,
  keepNames: true,
  platform: "node",
  target: "node22",
  format: "esm",
  // The runtime of AWS contains the clients of the SDK.
  external: ["pg-native", "@aws-sdk/client-*", "@aws-sdk/credential-provider-node", "libsql"],
  banner: {
    js: 'import { createRequire as bannerRequire } from "node:module"; const require = bannerRequire(import.meta.url);',
  },
});
await cp("public", "dist/public", { recursive: true });
await cp(fileURLToPath(import.meta.resolve("sallyport/client")), "dist/public/sallyport-client.js");
