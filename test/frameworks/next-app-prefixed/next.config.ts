// biome-ignore lint/style/noDefaultExport: Next.js asks for one
export default {
  basePath: "/realtime",
  serverExternalPackages: ["sallyport"],
  skipTrailingSlashRedirect: true,
  trailingSlash: true,
};
