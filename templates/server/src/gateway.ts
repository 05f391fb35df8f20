import { defineGateway, type GatewayDefinition } from "sallyport/aws";

const { ORIGIN, npm_lifecycle_event: script } = process.env;
if (script === "deploy" && !ORIGIN?.startsWith("https://")) {
  throw new Error(
    "ORIGIN must be the URL of the server, such as https://www.example.com. Set it, and deploy again.",
  );
}

/**
 * The API Gateway in production. `npm run deploy` creates it, or changes it to this definition.
 * Without an `ORIGIN` such as `https://www.example.com`, there is none.
 */
export const gateways: readonly GatewayDefinition[] = ORIGIN?.startsWith("https://")
  ? [
      defineGateway({
        name: "chat production",
        region: "eu-west-1",
        // API Gateway sends each event to this URL.
        target: new URL("/ws/chat", ORIGIN).href,
      }),
    ]
  : [];
