import { join } from "node:path";
import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from "aws-cdk-lib";
import { Certificate, CertificateValidation } from "aws-cdk-lib/aws-certificatemanager";
import { Port, Vpc } from "aws-cdk-lib/aws-ec2";
import { ContainerImage, Secret } from "aws-cdk-lib/aws-ecs";
import { ApplicationLoadBalancedFargateService } from "aws-cdk-lib/aws-ecs-patterns";
import {
  Credentials,
  DatabaseInstance,
  DatabaseInstanceEngine,
  PostgresEngineVersion,
} from "aws-cdk-lib/aws-rds";
import { HostedZone } from "aws-cdk-lib/aws-route53";
import type { Construct } from "constructs";
import { SallyportApi } from "sallyport/cdk";

const EXAMPLES = join(import.meta.dirname, "..");
const USER = "chat";
const DATABASE = "chat";
const PORT = 3000;

export interface ChatStackProps extends StackProps {
  /** The domain of the hosted zone. The app is at `www`, and the WebSocket API at `ws` below it. */
  readonly domainName: string;
  readonly hostedZoneId: string;
}

/** A chat on Fargate behind an Application Load Balancer, with PostgreSQL on RDS. */
export class ChatStack extends Stack {
  constructor(scope: Construct, id: string, { domainName, hostedZoneId, ...props }: ChatStackProps) {
    super(scope, id, props);
    const host = `www.${domainName}`;
    const hostedZone = HostedZone.fromHostedZoneAttributes(this, "Zone", {
      zoneName: domainName,
      hostedZoneId,
    });
    const certificate = new Certificate(this, "Certificate", {
      domainName: host,
      subjectAlternativeNames: [`ws.${domainName}`],
      validation: CertificateValidation.fromDns(hostedZone),
    });
    // The tasks call the Management API through the NAT gateway.
    const vpc = new Vpc(this, "Vpc", { maxAzs: 2, natGateways: 1 });
    const database = new DatabaseInstance(this, "Database", {
      vpc,
      engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17 }),
      credentials: Credentials.fromGeneratedSecret(USER),
      databaseName: DATABASE,
      storageEncrypted: true,
      multiAz: true,
      removalPolicy: RemovalPolicy.SNAPSHOT,
    });
    const api = new SallyportApi(this, "Ws", {
      definition: { name: "chat production" },
      url: `https://${host}/ws/chat`,
      domain: { name: `ws.${domainName}`, certificate, hostedZone },
    });
    if (!database.secret || !api.secret) throw new Error("The database or the API has no secret.");

    const service = new ApplicationLoadBalancedFargateService(this, "Chat", {
      vpc,
      certificate,
      domainName: host,
      domainZone: hostedZone,
      redirectHTTP: true,
      desiredCount: 2,
      cpu: 512,
      memoryLimitMiB: 1024,
      circuitBreaker: { rollback: true },
      healthCheckGracePeriod: Duration.minutes(2),
      taskImageOptions: {
        image: ContainerImage.fromAsset(EXAMPLES, {
          file: "docker/Dockerfile",
          exclude: ["**/node_modules", "**/cdk.out", "dist"],
        }),
        containerPort: PORT,
        environment: {
          PORT: String(PORT),
          DATABASE_URL: `postgres://${USER}@${database.instanceEndpoint.socketAddress}/${DATABASE}?sslmode=verify-full`,
          ORIGINS: `https://${host}`,
          SALLYPORT_GATEWAY: api.registrationJson,
        },
        secrets: {
          DATABASE_PASSWORD: Secret.fromSecretsManager(database.secret, "password"),
          SALLYPORT_SECRET: Secret.fromSecretsManager(api.secret),
        },
      },
    });
    service.targetGroup.configureHealthCheck({ path: "/healthz" });
    service.service.connections.allowTo(database, Port.tcp(5432));
    api.grantManageConnections(service.taskDefinition.taskRole);

    new CfnOutput(this, "WebSocketUrl", { value: api.url });
  }
}
