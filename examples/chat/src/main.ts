import { portFrom } from "./settings.ts";

async function main(): Promise<void> {
  const [port, gatewayPort] = [portFrom("PORT", 3000), portFrom("GATEWAY_PORT", 3001)];
  if (port === gatewayPort)
    throw new Error(`PORT and GATEWAY_PORT are both ${port}. Set them to different ports.`);
  // Loaded after the check, because the modules read the ports when they load.
  const { start } = await import("./start.ts");
  await start(port, gatewayPort);
}

main().catch((error: NodeJS.ErrnoException) => {
  const unbuilt = error.code === "ERR_MODULE_NOT_FOUND" && /[\\/]dist[\\/]/.test(error.message);
  console.error(unbuilt ? "The chat is not built. Run: npm ci && npm start" : error.message);
  process.exit(1);
});
