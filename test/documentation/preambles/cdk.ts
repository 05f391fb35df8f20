import { Stack, type StackProps } from "aws-cdk-lib";
import type { ICertificate } from "aws-cdk-lib/aws-certificatemanager";
import type { TaskDefinition } from "aws-cdk-lib/aws-ecs";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { IHostedZone } from "aws-cdk-lib/aws-route53";
import type { Construct } from "constructs";
import type { SallyportApi } from "sallyport/cdk";

declare const handler: LambdaFunction;
declare const migrateFunction: LambdaFunction;
declare const database: Construct;
declare const certificate: ICertificate;
declare const hostedZone: IHostedZone;
declare const task: TaskDefinition;
declare const api: SallyportApi;

export class SampleStack extends Stack {
  constructor(scope: Construct, id: string, props: StackProps) {
    super(scope, id, props);
    // the sample
  }
}
