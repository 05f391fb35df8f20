import type { NextConfig } from "next";

const config: NextConfig = { serverExternalPackages: ["sallyport"] };

export default config;
