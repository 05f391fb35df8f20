// biome-ignore lint/style/noDefaultExport: Next.js requires it
export default {
  basePath: "/realtime",
  serverExternalPackages: ["sallyport"],
  skipTrailingSlashRedirect: true,
  trailingSlash: true,
};
