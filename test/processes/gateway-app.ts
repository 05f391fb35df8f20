// An app whose gateway is provisioned from the command line.
import { createSallyport, handler, WebSocketView } from "sallyport";
import { defineGateway } from "sallyport/aws";
import { testStorage } from "./storage.ts";

class ChatView extends WebSocketView {
  static override allowAnonymous = true;
  ping = handler(() => ({ ok: true }));
}

export const sallyport = createSallyport({
  storage: testStorage(),
  permissions: [],
  views: { "/ws/chat": ChatView },
  origins: ["https://www.example.com"],
  authenticate: () => null,
  gateways: [
    defineGateway({
      name: "chat",
      region: "eu-west-1",
      target: "https://www.example.com/ws/chat",
      domain: {
        name: "ws.example.com",
        certificateArn: "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d-0000-4000-8000-000000000000",
      },
    }),
    ...(process.env.TEST_SECOND_GATEWAY
      ? [defineGateway({ name: "second", region: "eu-west-1", target: "https://www.example.com/ws/chat" })]
      : []),
  ],
});
