import { authenticatedUser } from "../auth/authenticated-user.ts";
import type { OriginCheck, OriginDecision } from "../auth/origins.ts";
import { type CredentialProvider, Credentials } from "../delivery/credentials.ts";
import type { ManagementApi, PostResult } from "../delivery/management-api.ts";
import type { AwsCredentials } from "../delivery/sigv4.ts";
import { parseStoredRules } from "../permissions/declared-rules.ts";
import type { Rule } from "../permissions/rules.ts";
import { listPermissions } from "../permissions/stored-permissions.ts";
import type { AdminServices, AuthServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { Storage } from "../storage/store.ts";
import { KEEP_CONNECTION_HOURS } from "./cleanup.ts";
import { changedRules } from "./compare-rules.ts";

/** The options of an app that `sallyport doctor` examines, with their defaults. */
export interface InspectedSettings {
  readonly token: {
    readonly path: string;
    readonly expiresInSeconds: number;
    readonly binding: "session" | "token";
  };
  readonly origins: readonly string[] | OriginCheck;
  readonly allowMissingOrigin: boolean;
  readonly gatewayAuth: "secret" | "none";
  readonly apiGateway: {
    readonly client?: unknown;
    readonly credentials?: CredentialProvider | AwsCredentials | undefined;
  };
}

/** A view, as its class declares it. */
export interface InspectedView {
  readonly path: string;
  readonly name: string;
  readonly rule: Rule;
  readonly handlers: readonly InspectedHandler[];
}

interface InspectedHandler {
  readonly name: string;
  /** Applies in addition to the rule of the view. */
  readonly rule: Rule;
  readonly hasAuthorize: boolean;
}

/** How the stored permissions and rules differ from those that the code declares. */
export interface DeclarationDifferences {
  /** Permissions that are declared, but not stored. */
  readonly missing: readonly string[];
  /** Rules that differ, such as `view /ws/chat`. */
  readonly rules: readonly string[];
}

/** How long ago the oldest rows could have been removed, in milliseconds. Negative: not yet. */
export interface OverdueRows {
  readonly tokensMs: number;
  readonly connectionsMs: number;
}

/** The dependencies of {@link Inspection}. */
export interface InspectionServices {
  readonly admin: AdminServices;
  readonly auth: AuthServices;
  readonly storage: Storage;
  readonly api: ManagementApi;
}

/** A connection id in the format of AWS that no connection has. */
const UNKNOWN_CONNECTION = "AAAAAAAAAAAAAAA=";
/** Clean-up removes a token when it expired this long ago, in milliseconds. */
const KEEP_TOKEN_MS = 10 * 60_000;
const HOUR_MS = 3_600_000;

/** Reads the settings and the state of an app, for `sallyport doctor`. It changes nothing. */
export class Inspection {
  readonly settings: InspectedSettings;
  readonly #services: InspectionServices;

  constructor(settings: InspectedSettings, services: InspectionServices) {
    this.settings = settings;
    this.#services = services;
  }

  /** The mounted views. */
  get views(): readonly InspectedView[] {
    return [...this.#services.admin.definitions.views.values()].map(({ path, name, rule, handlers }) => ({
      path,
      name,
      rule,
      handlers: [...handlers.values()].map((handler) => ({
        name: handler.name,
        rule: handler.rule,
        hasAuthorize: handler.authorize !== undefined,
      })),
    }));
  }

  /** The declared channels. */
  get channels(): readonly {
    readonly pattern: string;
    readonly rule: Rule;
    readonly hasAuthorize: boolean;
  }[] {
    return this.#services.admin.definitions.channels.list();
  }

  /** The limits that are turned off, of the whole app and of views. */
  get disabledLimits(): readonly string[] {
    const { admin } = this.#services;
    const disabled = (limits: object) =>
      Object.entries(limits).flatMap(([name, value]) => (value === false ? [name] : []));
    const ofViews = [...admin.definitions.views.values()].flatMap(({ name, limits }) =>
      disabled(limits).map((limit) => `${name}.${limit}`),
    );
    return [...disabled(admin.limits.settings.app), ...ofViews];
  }

  /** Returns whether the pages of an origin are allowed to connect, with the error of `origins`. */
  decideOrigin(origin: string): Promise<OriginDecision> {
    return this.#services.auth.origins.decide(origin);
  }

  /**
   * Calls `authenticate` of the app.
   *
   * @returns the user id, or undefined for a request without a session
   * @throws what `authenticate` throws
   */
  async authenticate(request: Request): Promise<string | undefined> {
    return (await authenticatedUser(this.#services.auth, request))?.userId;
  }

  /**
   * Returns the migrations that `migrate` would run.
   *
   * @throws StorageError if the database cannot be read
   */
  pendingMigrations(): Promise<readonly string[]> {
    return this.#read(() => this.#services.storage.pendingMigrations());
  }

  /** Compares the stored permissions and rules with those of this code. */
  declarationDifferences(): Promise<DeclarationDifferences> {
    const { admin } = this.#services;
    const { changes } = admin.store;
    return this.#read(async () => {
      const permissions = listPermissions(admin.definitions.permissions, await changes.permissions());
      const rules = changedRules(admin, parseStoredRules(await changes.rules()));
      return {
        missing: permissions.filter(({ isStored }) => !isStored).map(({ name }) => name),
        rules: rules.map(({ kind, name }) => `${kind} ${name}`),
      };
    });
  }

  /** Returns how long ago clean-up could have removed the oldest tokens and connections. */
  overdueRows(): Promise<OverdueRows> {
    const { tokens, connections } = this.#services.admin.store;
    return this.#read(async () => {
      const [expiredMs, ageMs] = [await tokens.expiredForMs(), await connections.oldestMs()];
      return {
        tokensMs: (expiredMs ?? 0) - KEEP_TOKEN_MS,
        connectionsMs: (ageMs ?? 0) - KEEP_CONNECTION_HOURS * HOUR_MS,
      };
    });
  }

  /** @throws DeliveryError if no AWS credentials are found within five seconds */
  async requireCredentials(): Promise<void> {
    await new Credentials(this.settings.apiGateway.credentials).now();
  }

  /**
   * Reads a connection that does not exist from the Management API. The result is `gone` if the
   * credentials allow the call.
   *
   * @param endpoint URL of the Management API
   */
  async callManagementApi(endpoint: string): Promise<PostResult> {
    const { api } = this.#services;
    await api.ready?.(endpoint);
    const result = await api.get?.(endpoint, UNKNOWN_CONNECTION);
    return result ?? { kind: "failed", reason: "get() is not implemented" };
  }

  #read<Result>(work: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.admin.store, work);
  }
}
