import webpack from "webpack";

const [format, folder] = process.argv.slice(2);
const isModule = format === "esm";
webpack(
  {
    mode: "production",
    target: "node20",
    entry: "./app.mjs",
    experiments: { outputModule: isModule },
    output: {
      path: folder,
      filename: isModule ? "app.mjs" : "app.cjs",
      chunkFilename: isModule ? "[id].mjs" : "[id].cjs",
      library: { type: isModule ? "module" : "commonjs2" },
    },
    externals: { libsql: isModule ? "import libsql" : "commonjs libsql", "pg-native": "commonjs pg-native" },
  },
  (error, stats) => {
    if (!error && !stats.hasErrors()) return;
    console.error(error ?? stats.toString("errors-only"));
    process.exitCode = 1;
  },
);
