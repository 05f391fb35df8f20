import { App } from "aws-cdk-lib";
import { ChatStack } from "./chat-stack.ts";

new ChatStack(new App(), "Chat", {
  env: { region: "eu-west-1", account: process.env.CDK_DEFAULT_ACCOUNT },
});
