import type { Design } from "./app.ts";
import type { Holder, Rule } from "./model.ts";
import type { Name } from "./world.ts";

/**
 * An audience in a scenario, before its sockets are known. `socket` is an index into the sockets.
 * `joined` is an index into the channels that have a socket.
 */
export type AudienceDraft =
  | { readonly channel: string }
  | { readonly joined: number }
  | { readonly user: string }
  | { readonly socket: number }
  | { readonly permission: string }
  | "everyone";

/**
 * A change in a scenario, before the time and the grants are known. `lasts` is a duration that
 * starts at the change.
 */
export type Draft =
  /** Removes one of the existing grants and memberships. */
  | { readonly kind: "remove-existing"; readonly number: number }
  | { readonly kind: "grant"; readonly holder: Holder; readonly permission: string; readonly lasts?: number }
  | { readonly kind: "revoke"; readonly holder: Holder; readonly permission: string }
  | { readonly kind: "add-to-group"; readonly user: string; readonly group: string; readonly lasts?: number }
  | { readonly kind: "remove-from-group"; readonly user: string; readonly group: string }
  | { readonly kind: "create-group" | "delete-group"; readonly group: string }
  | { readonly kind: "set-active"; readonly user: string; readonly active: boolean }
  | { readonly kind: "set-superuser"; readonly user: string; readonly superuser: boolean }
  | { readonly kind: "delete-user"; readonly user: string }
  | { readonly kind: "end-session"; readonly session: string }
  | { readonly kind: "recheck"; readonly user: string }
  | { readonly kind: "recheck"; readonly channel: string };

export interface ConnectAttempt {
  readonly view: string;
  /** The user of the token and the cookie. Null to connect with neither. */
  readonly user: string | null;
  readonly login: string;
  readonly channel?: string;
  /** `held` uses one of the latest tokens of any user, which may be used or expired. */
  readonly token: "fresh" | "held" | "none";
  readonly held: number;
  /** The cookie of another user than the token's. */
  readonly cookie?: string;
  readonly forged?: "origin" | "secret";
}

export interface MessageFields {
  readonly name: string;
  readonly channel?: string;
  readonly club: string;
  readonly to: AudienceDraft;
  readonly required: Rule;
  readonly permission: string;
}

export type Question =
  | { readonly kind: "holders"; readonly permission: string; readonly channel?: string }
  | { readonly kind: "who can"; readonly permission: string }
  | { readonly kind: "has"; readonly user: string; readonly permission: string; readonly channel?: string }
  | {
      readonly kind: "why";
      readonly user: string | null;
      readonly view: string;
      readonly handler: string;
      readonly channel?: string;
    }
  | { readonly kind: "preview"; readonly to: AudienceDraft; readonly required: Rule }
  | { readonly kind: "rows" };

export type Step =
  | {
      readonly do: "change";
      readonly by: Name | "killed";
      readonly change: Draft;
      readonly previewed: boolean;
    }
  | { readonly do: "data"; readonly club: string; readonly user: string; readonly isIn: boolean }
  | {
      readonly do: "token";
      readonly at: Name;
      readonly user: string;
      readonly login: string;
      readonly view?: string;
      readonly channel?: string;
    }
  | { readonly do: "connect"; readonly at: Name; readonly attempt: ConnectAttempt }
  | {
      readonly do: "message";
      readonly at: Name;
      readonly socket: number;
      /** The route of another view. */
      readonly route?: string;
      readonly fields: MessageFields;
      readonly isCall: boolean;
    }
  | { readonly do: "send"; readonly at: Name; readonly to: AudienceDraft; readonly required: Rule }
  | { readonly do: "close"; readonly at: Name; readonly to: AudienceDraft }
  | { readonly do: "disconnect"; readonly at: Name; readonly socket: number }
  | { readonly do: "lose"; readonly socket: number }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "enforce"; readonly at: Name }
  | { readonly do: "ask"; readonly at: Name; readonly question: Question };

/** A world and the steps that run in it. */
export interface Scenario {
  readonly design: Design;
  readonly sample: boolean;
  readonly steps: readonly Step[];
}

/** A change that removes access. `out`: the app first removes a user from a club. */
export type Removal =
  | Exclude<Draft, { kind: "grant" | "add-to-group" | "create-group" | "recheck" }>
  | { readonly kind: "out"; readonly club: string; readonly user: string; readonly all: boolean };

/**
 * One of the operations that start at the same time. `after`: number of event loop turns to wait
 * first.
 */
export type Racer = { readonly after: number } & (
  | { readonly race: "remove"; readonly by: Name; readonly removal: Removal }
  | { readonly race: "send"; readonly at: Name; readonly to: AudienceDraft; readonly required: Rule }
  | { readonly race: "message"; readonly at: Name; readonly socket: number; readonly fields: MessageFields }
  | {
      readonly race: "connect";
      readonly at: Name;
      readonly view: string;
      readonly user: string;
      readonly channel?: string;
    }
);

/** A world, the steps before the race, and the racers. */
export interface RaceScenario {
  readonly design: Design;
  /** Seed of the pauses inside the app. */
  readonly waits: number;
  readonly steps: readonly (Step | Racer)[];
}
