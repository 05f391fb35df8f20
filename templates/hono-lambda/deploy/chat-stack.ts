import { fileURLToPath } from "node:url";
import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from "aws-cdk-lib";
import { HttpApi } from "aws-cdk-lib/aws-apigatewayv2";
import { HttpLambdaIntegration } from "aws-cdk-lib/aws-apigatewayv2-integrations";
import { InstanceType, Port, Vpc } from "aws-cdk-lib/aws-ec2";
import { Rule, Schedule } from "aws-cdk-lib/aws-events";
import { LambdaFunction } from "aws-cdk-lib/aws-events-targets";
import { Code, Function as Lambda, Runtime } from "aws-cdk-lib/aws-lambda";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import {
  Credentials,
  DatabaseInstance,
  DatabaseInstanceEngine,
  type DatabaseProxy,
  PostgresEngineVersion,
} from "aws-cdk-lib/aws-rds";
import { Secret } from "aws-cdk-lib/aws-secretsmanager";
import { Trigger } from "aws-cdk-lib/triggers";
import type { Construct } from "constructs";
import { SallyportApi } from "sallyport/cdk";

/** The code of the functions. `npm run build` writes it. */
const CODE = fileURLToPath(new URL("../dist/", import.meta.url));
/** The owner of the tables. */
const USER = "chat";
const DATABASE = "chat";

/** The function for pages and events, the two APIs in front of it, and a PostgreSQL database. */
export class ChatStack extends Stack {
  readonly #vpc: Vpc;
  readonly #proxy: DatabaseProxy;
  /** The secret that signs the cookies. */
  readonly #sessionSecret: Secret;

  constructor(scope: Construct, id: string, props: StackProps) {
    super(scope, id, props);
    // The functions call the Management API through the NAT gateway.
    this.#vpc = new Vpc(this, "Vpc", { maxAzs: 2, natGateways: 1 });
    const database = new DatabaseInstance(this, "Database", {
      vpc: this.#vpc,
      engine: DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17 }),
      instanceType: new InstanceType("t4g.micro"),
      credentials: Credentials.fromGeneratedSecret(USER),
      databaseName: DATABASE,
      storageEncrypted: true,
      removalPolicy: RemovalPolicy.SNAPSHOT,
    });
    if (!database.secret) throw new Error("The database has no secret.");
    this.#proxy = database.addProxy("Proxy", {
      vpc: this.#vpc,
      secrets: [database.secret],
      iamAuth: true,
      requireTLS: true,
    });
    this.#sessionSecret = new Secret(this, "SessionSecret", {
      generateSecretString: { excludePunctuation: true, passwordLength: 64 },
    });

    const chat = this.#createFunction("Chat", "lambda.handler", Duration.seconds(29));
    const sockets = new SallyportApi(this, "Ws", {
      definition: { name: "chat production" },
      handler: chat,
    });
    const pages = new HttpApi(this, "Http", {
      defaultIntegration: new HttpLambdaIntegration("Pages", chat),
    });
    chat.addEnvironment("ORIGIN", pages.apiEndpoint);
    chat.addEnvironment("SALLYPORT_URL", sockets.url);

    const migrate = this.#createFunction("Migrate", "maintenance.migrate", Duration.minutes(5));
    migrate.addEnvironment("SALLYPORT_GATEWAY", sockets.registrationJson);
    // A stricter rule closes connections.
    sockets.grantManageConnections(migrate);
    // Each deployment that changes the code invokes it, before the new code serves.
    const migrated = new Trigger(this, "MigrateNow", {
      handler: migrate,
      timeout: Duration.minutes(5),
      executeAfter: [database, this.#proxy],
    });
    chat.node.defaultChild?.node.addDependency(migrated);

    const access = this.#createFunction("Access", "maintenance.changeAccess", Duration.seconds(29));
    sockets.grantManageConnections(access);
    const cleanup = this.#createFunction("Cleanup", "maintenance.cleanup", Duration.minutes(5));
    new Rule(this, "EachHour", {
      schedule: Schedule.rate(Duration.hours(1)),
      targets: [new LambdaFunction(cleanup)],
    });

    new CfnOutput(this, "PageUrl", { value: pages.apiEndpoint });
    new CfnOutput(this, "WebSocketUrl", { value: sockets.url });
    new CfnOutput(this, "AccessFunction", { value: access.functionName });
  }

  #createFunction(id: string, handler: string, timeout: Duration): Lambda {
    const created = new Lambda(this, id, {
      code: Code.fromAsset(CODE),
      handler,
      runtime: Runtime.NODEJS_24_X,
      memorySize: 1024,
      timeout,
      vpc: this.#vpc,
      logGroup: new LogGroup(this, `${id}Log`, {
        retention: RetentionDays.ONE_MONTH,
        removalPolicy: RemovalPolicy.DESTROY,
      }),
      environment: {
        NODE_ENV: "production",
        // RDS Proxy has a certificate of Amazon Trust Services, which Node.js trusts.
        DATABASE_URL: `postgres://${USER}@${this.#proxy.endpoint}:5432/${DATABASE}?sslmode=verify-full`,
        DATABASE_IAM: "1",
        // Everyone who can read the configuration of the function can read this value.
        SESSION_SECRET: this.#sessionSecret.secretValue.unsafeUnwrap(),
      },
    });
    this.#proxy.grantConnect(created, USER);
    this.#proxy.connections.allowFrom(created, Port.tcp(5432));
    return created;
  }
}
