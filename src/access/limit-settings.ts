import type { ValidViewLimits } from "../view/limits.ts";
import type { Limits } from "./rate-limits.ts";

/** The value of a limit at a view. */
export interface LimitSetting {
  readonly value: number | false;
  /** The view whose events alone are counted. null: the value is the app's, and views that use it are counted together. */
  readonly view: string | null;
}

/** The limits of the app, and those that views set for themselves. */
export class LimitSettings {
  readonly app: Limits;
  readonly #views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>;

  /** @param views by path */
  constructor(app: Limits, views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>) {
    this.app = app;
    this.#views = views;
  }

  /** Returns the value that applies at a view. */
  at(view: string, name: keyof ValidViewLimits): LimitSetting {
    const value = this.#views.get(view)?.limits[name];
    return value === undefined ? { value: this.app[name], view: null } : { value, view };
  }
}
