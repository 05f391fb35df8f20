// biome-ignore lint/style/noDefaultExport: Next.js asks for one
export default {
  serverExternalPackages: ["sallyport"],
};
