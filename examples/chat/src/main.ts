import { portFrom } from "./settings.ts";

async function main(): Promise<void> {
  const [port, gatewayPort] = [portFrom("PORT", 3000), portFrom("GATEWAY_PORT", 3001)];
  // Loaded only now, so that a bad value is told before anything reads it.
  const { start } = await import("./start.ts");
  await start(port, gatewayPort);
}

main().catch((error: NodeJS.ErrnoException) => {
  const unbuilt = error.code === "ERR_MODULE_NOT_FOUND";
  console.error(unbuilt ? "The chat is not built. Run: npm ci && npm start" : error.message);
  process.exit(1);
});
