import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GetIntegrationsCommand } from "@aws-sdk/client-apigatewayv2";
import { SECRET_PARAMETER } from "../../src/aws/provisioning/desired.ts";
import { type Provisioner, provisioner } from "../../src/aws/provisioning.ts";
import { defineGateway, type GatewayDefinition, gatewayPolicies } from "../../src/aws.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { WebSocketView } from "../../src/views/view.ts";
import type { Account } from "./account.ts";
import { bundleFunction } from "./bundle.ts";
import { HTTP_ROUTE, nameOf, PROBE_ROUTE, RAW_PATH, RAW_ROUTE, TAG, VIEW_PATH } from "./names.ts";

/** The users with the permission. Each is revoked at most once, so each such check has its own. */
export const USERS = ["ann", "bob", "cleo"] as const;

/** What a run created. */
export interface Environment {
  readonly functionName: string;
  readonly functionUrl: string;
  readonly apiId: string;
  /** WebSocket URL. */
  readonly url: string;
  /** Base URL of the Management API. */
  readonly endpoint: string;
  /** The secret that API Gateway sends to HTTP targets. */
  readonly secret: string;
  /** The key with which the token endpoint signs users in. */
  readonly key: string;
  readonly provisioner: Provisioner;
}

/** Stands for the view of the function in the app that only provisions. */
class ProvisionedView extends WebSocketView {
  static override signedIn = true;
  static override receiveOnly = true;
}

/** Creates the resources of a run one after the other, and closes what is open on this machine. */
export class EnvironmentBuilder {
  readonly #account: Account;
  readonly #accountId: string;
  readonly #runId: string;
  readonly #signal: AbortSignal;
  #folder: string | undefined;
  #app: Sallyport | undefined;
  #provisioner: Provisioner | undefined;

  constructor(account: Account, accountId: string, runId: string, signal: AbortSignal) {
    this.#account = account;
    this.#accountId = accountId;
    this.#runId = runId;
    this.#signal = signal;
  }

  /** @param onStep called before each step with its description */
  async create(onStep: (what: string) => void): Promise<Environment> {
    const name = nameOf(this.#runId);
    const step = (what: string) => {
      this.#signal.throwIfAborted();
      onStep(what);
    };
    const lambda = `arn:aws:lambda:${this.#account.region}:${this.#accountId}:function:${name}`;
    step(`create role ${name}`);
    const role = await this.#account.createRole(name, this.#runId);
    // The id of the API is not known yet. The stage has the name of the run, and no other API has it.
    const { runtime } = gatewayPolicies(this.#define(lambda, undefined), { apiId: "*" });
    await this.#account.putRolePolicy(name, runtime);
    step(`create function ${name}`);
    const key = randomBytes(24).toString("hex");
    const code = await bundleFunction();
    await this.#account.createFunction(name, this.#runId, { role, code, key }, this.#signal);
    await this.#account.reserveInstance(name);
    step(`create URL of the function ${name}`);
    const functionUrl = await this.#account.createFunctionUrl(name);
    await this.#account.openFunctionUrl(name);
    const opened = await this.#open(this.#define(lambda, functionUrl));
    await opened.apply(({ action, what }) => step(`${action} ${what}`));
    const { apiId, url, endpoint } = await opened.status();
    if (apiId === null || url === null || endpoint === null) throw new Error("apply created no API.");
    step("create tables and record of the gateway in the function");
    const secret = await this.#secretOf(apiId);
    const gateway = { name, apiId, endpoint, stage: name, secret };
    await this.#account.invoke(name, { kind: "prepare", gateway, users: USERS });
    return { functionName: name, functionUrl, apiId, url, endpoint, secret, key, provisioner: opened };
  }

  async close(): Promise<void> {
    await this.#provisioner?.close();
    await this.#app?.close();
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  #define(lambda: string, functionUrl: string | undefined): GatewayDefinition {
    const httpRoutes = {
      [HTTP_ROUTE]: `${functionUrl}${VIEW_PATH}/default`,
      [RAW_ROUTE]: { service: `${functionUrl}${RAW_PATH}` },
    };
    return defineGateway({
      name: nameOf(this.#runId),
      region: this.#account.region,
      account: this.#accountId,
      stage: nameOf(this.#runId),
      target: { lambda },
      routes: { [PROBE_ROUTE]: { lambda }, ...(functionUrl === undefined ? {} : httpRoutes) },
      tags: { [TAG]: this.#runId },
    });
  }

  /** Opens a database on this machine, in which provisioning records the gateway. */
  async #open(definition: GatewayDefinition): Promise<Provisioner> {
    this.#folder = await mkdtemp(join(tmpdir(), "sallyport-smoke-"));
    this.#app = createSallyport({
      storage: sqlite(join(this.#folder, "provisioning.db")),
      permissions: [],
      views: { [VIEW_PATH]: ProvisionedView },
      allowMissingOrigin: true,
      authenticate: () => null,
      gateways: [definition],
    });
    await this.#app.migrate();
    this.#provisioner = provisioner(this.#app, definition.name, { by: "test:aws", signal: this.#signal });
    return this.#provisioner;
  }

  async #secretOf(ApiId: string): Promise<string> {
    let NextToken: string | undefined;
    do {
      const page = await this.#account.gateways.send(
        new GetIntegrationsCommand({ ApiId, ...(NextToken ? { NextToken } : {}) }),
      );
      for (const { RequestParameters } of page.Items ?? []) {
        const [, secret] = /^'(.+)'$/.exec(RequestParameters?.[SECRET_PARAMETER] ?? "") ?? [];
        if (secret !== undefined) return secret;
      }
      NextToken = page.NextToken;
    } while (NextToken);
    throw new Error("No integration contains the secret of the gateway.");
  }
}
