import { cp } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

// dist/ is the code of the Lambda function, with the handler lambda.handler.
await build({
  entryPoints: ["src/lambda.ts"],
  outfile: "dist/lambda.mjs",
  bundle: true,
  minify: true,
  keepNames: true,
  platform: "node",
  target: "node22",
  format: "esm",
  external: ["pg-native", "@aws-sdk/*", "libsql"],
  banner: {
    js: 'import { createRequire as bannerRequire } from "node:module"; const require = bannerRequire(import.meta.url);',
  },
});
await cp("public", "dist/public", { recursive: true });
await cp(fileURLToPath(import.meta.resolve("sallyport/client")), "dist/public/sallyport-client.js");
