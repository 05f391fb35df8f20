/** The plugin @rollup/plugin-commonjs, whose types cannot be imported from an ES module. */
declare const commonjs: (options: { readonly ignore?: readonly string[] }) => object;
// the sample
