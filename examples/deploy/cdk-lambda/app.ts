import { App } from "aws-cdk-lib";
import { ChatStack } from "./chat-stack.ts";

const app = new App();
new ChatStack(app, "Chat", {
  env: { region: "eu-west-1", account: process.env.CDK_DEFAULT_ACCOUNT },
});
