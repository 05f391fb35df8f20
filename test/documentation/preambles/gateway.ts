import { defineGateway } from "sallyport/aws";

const gateway = {
  name: "chat production",
  region: "eu-west-1",
  target: "https://www.example.com/ws/chat",
} as const;
declare const certificateArn: string;
declare const nextCertificateArn: string;
// the sample
