import type { NextConfig } from "next";

const config: NextConfig = {
  serverExternalPackages: ["sallyport"],
  // The URL of a connect contains a token.
  logging: { incomingRequests: { ignore: [/^\/ws\//] } },
};

export default config;
