import type { ConnectionLimit, ConnectionScope } from "../connections/user-connections.ts";
import type { ValidViewLimits } from "../views/limits.ts";
import type { Limits } from "./rate-limits.ts";

/** The value of a limit at a view. */
export interface LimitSetting {
  readonly value: number | false;
  /** Only events of this view are counted. null: the value is the app's, and views that use it are counted together. */
  readonly view: string | null;
}

/** The limits of the app, and those that views set for themselves. */
export class LimitSettings {
  readonly app: Limits;
  readonly #views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>;

  /** The views that use the app's value of `connectionsPerUser`. */
  readonly #others: ConnectionScope;

  /** @param views by path */
  constructor(app: Limits, views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>) {
    this.app = app;
    this.#views = views;
    const own = [...views].filter(([, { limits }]) => limits.connectionsPerUser !== undefined);
    this.#others = { exceptViews: own.map(([path]) => path) };
  }

  /**
   * Returns the value that applies at a view.
   *
   * @param view its path, or any value that a client wrote. The app's value applies to what is not the path of a view
   */
  at(view: unknown, name: keyof ValidViewLimits): LimitSetting {
    const value = typeof view === "string" ? this.#views.get(view)?.limits[name] : undefined;
    return value === undefined ? { value: this.app[name], view: null } : { value, view: view as string };
  }

  /** Returns how many connections a user can have open at a view, or undefined for no limit. */
  connectionsAt(path: string): ConnectionLimit | undefined {
    const { value, view } = this.at(path, "connectionsPerUser");
    if (value === false) return undefined;
    return { max: value, scope: view === null ? this.#others : { view } };
  }
}
