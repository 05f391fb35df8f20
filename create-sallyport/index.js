#!/usr/bin/env node
// `npm create sallyport my-app` is `npx sallyport init my-app`.
process.argv.splice(2, 0, "init");
await import(new URL("bin/sallyport.js", import.meta.resolve("sallyport/package.json")).href);
