import { startLocalGateway } from "sallyport/local";
import { sallyport } from "./sallyport.ts";

const target = "http://127.0.0.1:8000/ws/chat/";
const routes = {
  $connect: { integration: { type: "HTTP_PROXY", uri: "http://127.0.0.1:8000/connect" } },
  $default: { integration: { type: "HTTP_PROXY", uri: "http://127.0.0.1:8000/message" } },
} as const;
const gateway = await startLocalGateway({ target });
const { endpoint } = gateway;
const secret = process.env.GATEWAY_SECRET;
const connectionId = "L0SNwdyOvHcCIhw=";
// the sample
