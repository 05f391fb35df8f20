import type { Design } from "./app.ts";
import type { Holder, Rule } from "./oracle.ts";
import type { Name } from "./world.ts";

/**
 * An audience before the story knows its sockets: `socket` counts through those there are, `joined` through the channels
 * that any of them is in.
 */
export type Wanted =
  | { readonly channel: string }
  | { readonly joined: number }
  | { readonly user: string }
  | { readonly socket: number }
  | { readonly permission: string }
  | "everyone";

/** A change before the story knows the time and who holds what: `lasts` counts from when it is made. */
export type Draft =
  /** Takes back one of the grants and memberships that there are. */
  | { readonly kind: "take"; readonly number: number }
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

export interface Knock {
  readonly view: string;
  /** Whose token and cookie; null for somebody who brings neither. */
  readonly user: string | null;
  readonly login: string;
  readonly channel?: string;
  /** `held` takes one of those issued last, whosever it is and whatever became of it. */
  readonly token: "fresh" | "held" | "none";
  readonly held: number;
  /** Another user's cookie beside the token. */
  readonly cookie?: string;
  readonly forged?: "origin" | "secret";
}

export interface Words {
  readonly name: string;
  readonly channel?: string;
  readonly club: string;
  readonly to: Wanted;
  readonly required: Rule;
  readonly permission: string;
}

export type Question =
  | { readonly ask: "holders"; readonly permission: string; readonly channel?: string }
  | { readonly ask: "who can"; readonly permission: string }
  | { readonly ask: "has"; readonly user: string; readonly permission: string; readonly channel?: string }
  | {
      readonly ask: "why";
      readonly user: string | null;
      readonly view: string;
      readonly handler: string;
      readonly channel?: string;
    }
  | { readonly ask: "preview"; readonly to: Wanted; readonly required: Rule }
  | { readonly ask: "rows" };

export type Step =
  | { readonly do: "change"; readonly by: Name | "dying"; readonly change: Draft; readonly foretold: boolean }
  | { readonly do: "data"; readonly club: string; readonly user: string; readonly isIn: boolean }
  | {
      readonly do: "token";
      readonly at: Name;
      readonly user: string;
      readonly login: string;
      readonly view?: string;
      readonly channel?: string;
    }
  | { readonly do: "connect"; readonly at: Name; readonly knock: Knock }
  | {
      readonly do: "message";
      readonly at: Name;
      readonly socket: number;
      /** Another view's route. */
      readonly route?: string;
      readonly words: Words;
      readonly isCall: boolean;
    }
  | { readonly do: "send"; readonly at: Name; readonly to: Wanted; readonly required: Rule }
  | { readonly do: "close"; readonly at: Name; readonly to: Wanted }
  | { readonly do: "hang up"; readonly at: Name; readonly socket: number }
  | { readonly do: "vanish"; readonly socket: number }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "enforce"; readonly at: Name }
  | { readonly do: "ask"; readonly at: Name; readonly question: Question };

/** A world and what happens in it. */
export interface Story {
  readonly design: Design;
  readonly sample: boolean;
  readonly steps: readonly Step[];
}

/** What takes rights away. `out`: whom the app strikes off a club's list first. */
export type Taking =
  | Exclude<Draft, { kind: "grant" | "add-to-group" | "create-group" | "recheck" }>
  | { readonly kind: "out"; readonly club: string; readonly user: string; readonly all: boolean };

/** One of those that start at the same time. `after`: turns of the event loop that it waits first. */
export type Racer = { readonly after: number } & (
  | { readonly race: "take"; readonly by: Name; readonly taking: Taking }
  | { readonly race: "send"; readonly at: Name; readonly to: Wanted; readonly required: Rule }
  | { readonly race: "message"; readonly at: Name; readonly socket: number; readonly words: Words }
  | {
      readonly race: "connect";
      readonly at: Name;
      readonly view: string;
      readonly user: string;
      readonly channel?: string;
    }
);

/** A world, what leads up to the race, and the racers. */
export interface RaceStory {
  readonly design: Design;
  /** Seeds the waits inside. */
  readonly waits: number;
  readonly steps: readonly (Step | Racer)[];
}
