import { hashSecret } from "../../src/auth/gateways.ts";
import { SECRET_PARAMETER } from "../../src/aws/provisioning/desired.ts";
import { type ControlPlaneOptions, type Provisioner, provisioner } from "../../src/aws/provisioning.ts";
import { defineGateway, type GatewayOptions } from "../../src/aws.ts";
import type { Gateway } from "../../src/index.ts";
import { INTERNAL } from "../../src/internal.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { emptyDatabase, storageAt, type TestDatabase } from "../postgres/database.ts";
import type { Snapshot } from "./control-plane/apis.ts";
import { ControlPlane } from "./control-plane/server.ts";

export const REGION = "eu-west-1";
export const CHAT = "https://www.example.com/ws/chat";

/** The environment variables that the AWS SDK reads. */
const CREDENTIALS = { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: "not a secret" };

/**
 * An app, its database, and the part of the AWS control plane that provisioning uses. The clock of
 * AWS advances when a run waits.
 */
export class ProvisioningWorld {
  readonly aws: ControlPlane;
  /** Called during each wait of a run. */
  whileWaiting: () => Promise<unknown> = async () => undefined;
  readonly #database: TestDatabase;
  readonly #storage: Database;
  readonly #open: Provisioner[] = [];
  #app: Sallyport;

  private constructor(aws: ControlPlane, database: TestDatabase, storage: Database) {
    this.aws = aws;
    this.#database = database;
    this.#storage = storage;
    this.#app = this.#appWith({});
  }

  static async open(): Promise<ProvisioningWorld> {
    Object.assign(process.env, CREDENTIALS);
    const database = await emptyDatabase();
    const world = new ProvisioningWorld(
      await ControlPlane.start(REGION),
      database,
      storageAt(database.source),
    );
    await world.#app.migrate();
    return world;
  }

  /** The app with its latest definition. */
  get app(): Sallyport {
    return this.#app;
  }

  /** The storage of the app. */
  get storage(): Database {
    return this.#storage;
  }

  /** Path or URL of the database. */
  get database(): string {
    return this.#database.source;
  }

  /** Defines the gateway "chat" again, as another version of the app. */
  define(
    options: Partial<GatewayOptions> = {},
    reached: Pick<ControlPlaneOptions, "timeoutMs" | "signal"> = {},
  ): Provisioner {
    this.#app = this.#appWith(options);
    const opened = provisioner(this.#app, options.name ?? "chat", {
      by: "test",
      ...reached,
      endpoint: this.aws.endpoint,
      wait: async (ms) => {
        await this.whileWaiting();
        this.aws.clock.advance(ms);
      },
      now: () => this.aws.clock.now,
    });
    this.#open.push(opened);
    return opened;
  }

  #appWith(options: Partial<GatewayOptions>): Sallyport {
    return createSallyport({
      storage: this.#storage,
      permissions: [chat],
      channels,
      views: { "/ws/chat": ChatView, "/ws/moderation": class Moderation extends ChatView {} },
      authenticate: async () => null,
      origins: ["https://www.example.com"],
      gateways: [defineGateway({ name: "chat", region: REGION, target: CHAT, ...options })],
    });
  }

  /** The record of the gateway in the database. */
  async record(name = "chat"): Promise<Gateway | undefined> {
    return this.#app[INTERNAL].provisioning.gateways.named(name);
  }

  /**
   * Returns the id of the API with the gateway's tag.
   *
   * @throws Error if there is not exactly one
   */
  apiId(name = "chat"): string {
    const ids = this.aws.apis
      .all()
      .filter(({ Tags }) => Tags?.["sallyport:gateway"] === name)
      .map(({ ApiId }) => ApiId ?? "");
    if (ids.length !== 1) throw new Error(`${ids.length} APIs have the tag`);
    return ids[0] as string;
  }

  /**
   * Returns what the stage serves.
   *
   * @throws Error if it serves nothing
   */
  served(stage = "production", name = "chat"): Snapshot {
    const snapshot = this.aws.apis.served(this.apiId(name), stage);
    if (!snapshot) throw new Error("the stage serves nothing");
    return snapshot;
  }

  /** Returns the hashes of the secrets that the integrations of the stage send. */
  servedSecrets(): readonly string[] {
    return [...new Set(this.served().integrations.map((integration) => hashSecret(secretOf(integration))))];
  }

  async close(): Promise<void> {
    for (const opened of this.#open) await opened.close();
    await this.aws.close();
    await this.#storage.close();
    await this.#database.drop();
    for (const error of this.aws.thrown) throw error;
  }
}

export function secretOf({
  RequestParameters,
}: {
  RequestParameters?: Record<string, string> | undefined;
}): string {
  return /^'(.*)'$/.exec(RequestParameters?.[SECRET_PARAMETER] ?? "")?.[1] ?? "";
}
