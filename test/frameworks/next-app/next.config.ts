// biome-ignore lint/style/noDefaultExport: Next.js requires it
export default {
  serverExternalPackages: ["sallyport"],
};
