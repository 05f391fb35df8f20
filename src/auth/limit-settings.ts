import type { ConnectionLimit, ConnectionScope } from "../storage/stores/connections.ts";
import type { ValidViewLimits } from "../views/limits.ts";
import type { Limits } from "./limit-options.ts";

/** The value of a limit at a view. */
export interface LimitSetting {
  readonly value: number | false;
  /**
   * The view that sets the value. Only its events are counted. Null if the app sets the value. The
   * events of all views that use it are then counted together.
   */
  readonly view: string | null;
}

/** The limits of the app and of its views. */
export class LimitSettings {
  readonly app: Limits;
  readonly #views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>;

  /** The views that use the value of the app for `connectionsPerUser`. */
  readonly #appScope: ConnectionScope;

  /** @param views the views by path */
  constructor(app: Limits, views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>) {
    this.app = app;
    this.#views = views;
    const limitedViews = [...views].filter(([, { limits }]) => limits.connectionsPerUser !== undefined);
    this.#appScope = { exceptViews: limitedViews.map(([path]) => path) };
  }

  /**
   * Returns the value that applies at a view.
   *
   * @param view the path of the view. For any other value, the value of the app is returned
   */
  at(view: unknown, name: keyof ValidViewLimits): LimitSetting {
    const value = typeof view === "string" ? this.#views.get(view)?.limits[name] : undefined;
    return value === undefined ? { value: this.app[name], view: null } : { value, view: view as string };
  }

  /** Returns the limit of open connections per user at a view, or undefined for no limit. */
  connectionsAt(path: string): ConnectionLimit | undefined {
    const { value, view } = this.at(path, "connectionsPerUser");
    if (value === false) return undefined;
    return { max: value, scope: view === null ? this.#appScope : { view } };
  }
}
