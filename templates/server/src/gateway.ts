import { defineGateway, type GatewayDefinition } from "sallyport/aws";

const { ORIGIN } = process.env;

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
