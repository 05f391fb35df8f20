import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GetIntegrationsCommand } from "@aws-sdk/client-apigatewayv2";
import { SECRET_PARAMETER } from "../../src/aws/provisioning/desired.ts";
import { type Provisioner, provisioner } from "../../src/aws/provisioning.ts";
import {
  defineGateway,
  type GatewayDefinition,
  gatewayPolicies,
  type PolicyDocument,
} from "../../src/aws.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { WebSocketView } from "../../src/views/view.ts";
import type { Account } from "./account.ts";
import { bundleFunction } from "./bundle.ts";
import { HTTP_ROUTE, httpNameOf, nameOf, PROBE_ROUTE, RAW_PATH, RAW_ROUTE, TAG, VIEW_PATH } from "./names.ts";

/** The users with the permission. Each is revoked at most once, so each such check has its own. */
export const USERS = ["ann", "bob", "cleo"] as const;

/** An API that serves. */
export interface ServedApi {
  readonly apiId: string;
  /** WebSocket URL. */
  readonly url: string;
  /** Base URL of the Management API. */
  readonly endpoint: string;
  /** The secret that API Gateway sends to HTTP targets. */
  readonly secret: string;
}

/** What a run created. */
export interface Environment extends ServedApi {
  readonly functionName: string;
  readonly functionUrl: string;
  /** The API with URLs as targets. Its replies are sent through the Management API. */
  readonly http: ServedApi;
  /** The key with which the token endpoint signs users in. */
  readonly key: string;
  /** Provisions the API with a function as its target. */
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
  readonly #provisioners: Provisioner[] = [];

  constructor(account: Account, accountId: string, runId: string, signal: AbortSignal) {
    this.#account = account;
    this.#accountId = accountId;
    this.#runId = runId;
    this.#signal = signal;
  }

  /** @param log called before each step with its description */
  async create(log: (step: string) => void): Promise<Environment> {
    const name = nameOf(this.#runId);
    const step = (what: string) => {
      this.#signal.throwIfAborted();
      log(what);
    };
    step(`create role ${name}`);
    const role = await this.#account.createRole(name, this.#runId);
    step(`create policy of the role ${name}`);
    await this.#account.putRolePolicy(name, this.#rolePolicy());
    step(`create function ${name}`);
    const key = randomBytes(24).toString("hex");
    const code = await bundleFunction();
    await this.#account.createFunction(name, this.#runId, { role, code, key }, this.#signal);
    await this.#account.reserveInstance(name);
    step(`create URL of the function ${name}`);
    const functionUrl = await this.#account.createFunctionUrl(name);
    await this.#account.openFunctionUrl(name);
    const app = await this.#open(functionUrl);
    const { served, opened } = await this.#apply(app, name, step);
    const { served: http } = await this.#apply(app, httpNameOf(this.#runId), step);
    return { ...served, functionName: name, functionUrl, http, key, provisioner: opened };
  }

  async close(): Promise<void> {
    for (const opened of this.#provisioners) await opened.close();
    await this.#app?.close();
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  /** Returns the definitions of both APIs. */
  #define(functionUrl: string): readonly [GatewayDefinition, GatewayDefinition] {
    const { region } = this.#account;
    const [name, httpName] = [nameOf(this.#runId), httpNameOf(this.#runId)];
    const lambda = `arn:aws:lambda:${region}:${this.#accountId}:function:${name}`;
    const common = { region, account: this.#accountId, tags: { [TAG]: this.#runId } };
    const raw = { [RAW_ROUTE]: { service: `${functionUrl}${RAW_PATH}` } };
    const ofFunction = defineGateway({
      ...common,
      name,
      stage: name,
      target: { lambda },
      routes: {
        [PROBE_ROUTE]: { lambda },
        [HTTP_ROUTE]: `${functionUrl}${VIEW_PATH}/default`,
        ...raw,
      },
    });
    const target = `${functionUrl}${VIEW_PATH}`;
    const ofUrl = {
      ...common,
      name: httpName,
      stage: httpName,
      target,
      routes: raw,
      replies: "push",
    } as const;
    return [ofFunction, defineGateway(ofUrl)];
  }

  /**
   * Returns the policy of the function. The ids of the APIs are not known yet, but no other API has
   * stages with these names.
   */
  #rolePolicy(): PolicyDocument {
    const policies = this.#define("https://www.example.com").map(
      (definition) => gatewayPolicies(definition, { apiId: "*" }).runtime,
    );
    const statements = policies.flatMap(({ Statement }) => Statement);
    return {
      Version: "2012-10-17",
      Statement: statements.map((statement, index) => ({ ...statement, Sid: `${statement.Sid}${index}` })),
    };
  }

  /** Opens an app with a database on this machine, in which provisioning records the gateways. */
  async #open(functionUrl: string): Promise<Sallyport> {
    this.#folder = await mkdtemp(join(tmpdir(), "sallyport-smoke-"));
    this.#app = createSallyport({
      storage: sqlite(join(this.#folder, "provisioning.db")),
      permissions: [],
      views: { [VIEW_PATH]: ProvisionedView },
      allowMissingOrigin: true,
      authenticate: () => null,
      gateways: this.#define(functionUrl),
    });
    await this.#app.migrate();
    return this.#app;
  }

  /** Creates an API, and registers it in the function. */
  async #apply(
    app: Sallyport,
    name: string,
    step: (what: string) => void,
  ): Promise<{ readonly served: ServedApi; readonly opened: Provisioner }> {
    const opened = provisioner(app, name, { by: "test:aws", signal: this.#signal });
    this.#provisioners.push(opened);
    await opened.apply(({ action, what }) => step(`${action} ${what}`));
    const { apiId, url, endpoint } = await opened.status();
    if (apiId === null || url === null || endpoint === null) throw new Error("apply created no API.");
    step(`create record of ${name} in the function`);
    const secret = await this.#secretOf(apiId);
    const { replies } = app.gatewayDefinition(name);
    await this.#account.invoke(nameOf(this.#runId), {
      kind: "prepare",
      gateway: { name, apiId, endpoint, stage: name, secret, replies },
      users: USERS,
    });
    return { served: { apiId, url, endpoint, secret }, opened };
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
