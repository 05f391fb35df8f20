import { join } from "node:path";
import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from "aws-cdk-lib";
import { HttpApi, HttpMethod } from "aws-cdk-lib/aws-apigatewayv2";
import { HttpLambdaIntegration } from "aws-cdk-lib/aws-apigatewayv2-integrations";
import { Port, Vpc } from "aws-cdk-lib/aws-ec2";
import { Rule, Schedule } from "aws-cdk-lib/aws-events";
import { LambdaFunction } from "aws-cdk-lib/aws-events-targets";
import { Runtime } from "aws-cdk-lib/aws-lambda";
import { NodejsFunction } from "aws-cdk-lib/aws-lambda-nodejs";
import {
  Credentials,
  DatabaseInstance,
  DatabaseInstanceEngine,
  type DatabaseProxy,
  PostgresEngineVersion,
} from "aws-cdk-lib/aws-rds";
import { Trigger } from "aws-cdk-lib/triggers";
import type { Construct } from "constructs";
import { SallyportApi } from "sallyport/cdk";

const APP = join(import.meta.dirname, "../app");
/** The owner of the tables. */
const USER = "chat";
const DATABASE = "chat";

/** A chat on Lambda functions, with PostgreSQL on RDS behind RDS Proxy. */
export class ChatStack extends Stack {
  readonly #vpc: Vpc;
  readonly #proxy: DatabaseProxy;

  constructor(scope: Construct, id: string, props: StackProps) {
    super(scope, id, props);
    // The functions call the Management API through the NAT gateway.
    this.#vpc = new Vpc(this, "Vpc", { maxAzs: 2, natGateways: 1 });
    const database = new DatabaseInstance(this, "Database", {
      vpc: this.#vpc,
      engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17 }),
      credentials: Credentials.fromGeneratedSecret(USER),
      databaseName: DATABASE,
      storageEncrypted: true,
      multiAz: true,
      removalPolicy: RemovalPolicy.SNAPSHOT,
    });
    if (!database.secret) throw new Error("The database has no secret.");
    this.#proxy = database.addProxy("Proxy", {
      vpc: this.#vpc,
      secrets: [database.secret],
      iamAuth: true,
      requireTLS: true,
    });

    const handler = this.#createFunction("Chat", "lambda.ts", Duration.seconds(29));
    const api = new SallyportApi(this, "Ws", { definition: { name: "chat production" }, handler });

    const migrate = this.#createFunction("Migrate", "migrate-lambda.ts", Duration.minutes(5));
    migrate.addEnvironment("SALLYPORT_GATEWAY", api.registrationJson);
    // A stricter rule closes connections.
    api.grantManageConnections(migrate);
    const migrated = new Trigger(this, "MigrateNow", {
      handler: migrate,
      timeout: Duration.minutes(5),
      executeAfter: [database, this.#proxy],
    });
    // New code serves after the migration.
    handler.node.defaultChild?.node.addDependency(migrated);

    const cleanup = this.#createFunction("Cleanup", "cleanup-lambda.ts", Duration.minutes(5));
    new Rule(this, "EachHour", {
      schedule: Schedule.rate(Duration.hours(1)),
      targets: [new LambdaFunction(cleanup)],
    });

    const token = this.#createFunction("Token", "token-lambda.ts", Duration.seconds(29));
    const http = new HttpApi(this, "Http");
    http.addRoutes({
      path: "/api/ws-token",
      methods: [HttpMethod.POST, HttpMethod.OPTIONS],
      integration: new HttpLambdaIntegration("Token", token),
    });

    new CfnOutput(this, "WebSocketUrl", { value: api.url });
    new CfnOutput(this, "TokenUrl", { value: `${http.apiEndpoint}/api/ws-token` });
  }

  #createFunction(id: string, file: string, timeout: Duration): NodejsFunction {
    const created = new NodejsFunction(this, id, {
      entry: join(APP, file),
      runtime: Runtime.NODEJS_24_X,
      memorySize: 1024,
      timeout,
      vpc: this.#vpc,
      environment: {
        // RDS Proxy has a certificate of Amazon Trust Services, which Node.js trusts.
        DATABASE_URL: `postgres://${USER}@${this.#proxy.endpoint}:5432/${DATABASE}?sslmode=verify-full`,
        DATABASE_IAM: "1",
        ORIGINS: "https://www.example.com",
      },
      bundling: { minify: true, externalModules: ["pg-native", "libsql"] },
    });
    this.#proxy.grantConnect(created, USER);
    this.#proxy.connections.allowFrom(created, Port.tcp(5432));
    return created;
  }
}
