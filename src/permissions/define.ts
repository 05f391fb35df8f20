import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";

declare const brand: unique symbol;

/**
 * A permission: the text `app.codename`. The type is branded, so a misspelled text does not
 * compile.
 */
export type Permission = string & { readonly [brand]: "permission" };

const declared = Symbol("sallyport.permissions");

/** The permissions of one app, by codename. {@link definePermissions} returns it. */
export type PermissionSet<Codename extends string = string> = {
  readonly [Name in Codename]: Permission;
} & { readonly [declared]: { readonly app: string; readonly labels: Readonly<Record<Codename, string>> } };

/** A permission set of any app. */
export interface AnyPermissionSet {
  readonly [declared]: { readonly app: string; readonly labels: Readonly<Record<string, string>> };
}

/** A label for each codename. */
type Labels = Readonly<Record<string, string>>;

/** The codenames of several objects of labels. */
type CodenameOf<Declared extends Labels> = Declared extends unknown ? keyof Declared & string : never;

/**
 * Declares the permissions of an app. Use the returned values in rules and grants.
 *
 * ```ts
 * const shop = definePermissions("shop", modelPermissions("article"), {
 *   can_ship: "Can ship orders",
 * });
 * ```
 *
 * @param app the name of the app: at most 100 lowercase letters, digits and `_`, starting with a
 *   letter
 * @param labels a label of 1 to 255 characters for each codename. A codename has at most 100
 *   letters, digits and `_`, and starts with a letter. Several objects are merged
 * @returns the permissions by codename
 * @throws ConfigurationError for an invalid name or label, or a codename that is declared twice
 */
export function definePermissions<const Declared extends readonly [Labels, ...Labels[]]>(
  app: string,
  ...labels: Declared
): PermissionSet<CodenameOf<Declared[number]>> {
  if (!/^[a-z][a-z0-9_]{0,99}$/.test(app)) {
    throw new ConfigurationError(
      `definePermissions("${app}"): "${app}" cannot be the name of an app. Use at most 100 lowercase letters, digits and _, ` +
        "beginning with a letter.",
    );
  }
  const set: Record<string, string> = {};
  const labelled: Record<string, string> = {};
  for (const [codename, label] of labels.flatMap((declaration) => Object.entries<string>(declaration))) {
    if (!/^[A-Za-z][A-Za-z0-9_]{0,99}$/.test(codename)) {
      throw new ConfigurationError(
        `definePermissions("${app}"): "${codename}" cannot be a codename. Use at most 100 letters, digits and _, ` +
          "beginning with a letter.",
      );
    }
    if (typeof label !== "string" || label.trim() === "" || label.length > 255) {
      throw new ConfigurationError(
        `Permission ${app}.${codename} has no valid label. Give it a label of 1 to 255 characters.`,
      );
    }
    if (Object.hasOwn(set, codename)) {
      throw new ConfigurationError(
        `definePermissions("${app}") declares ${app}.${codename} twice, as "${labelled[codename]}" and as "${label}". Remove one of them.`,
      );
    }
    set[codename] = `${app}.${codename}`;
    labelled[codename] = label;
  }
  Object.defineProperty(set, declared, {
    value: Object.freeze({ app, labels: Object.freeze(labelled) }),
  });
  return Object.freeze(set) as PermissionSet<CodenameOf<Declared[number]>>;
}

/** The permissions of a model, as in Django. */
const MODEL_ACTIONS = ["add", "change", "delete", "view"] as const;

type ModelAction = (typeof MODEL_ACTIONS)[number];

/**
 * Returns the standard permissions of a model. Pass them to {@link definePermissions}.
 *
 * `modelPermissions("article")` returns the codenames `add_article`, `change_article`,
 * `delete_article` and `view_article`. Their labels are "Can add article" and so on.
 *
 * @param model the name of the model: at most 93 lowercase letters, digits and `_`, starting with a
 *   letter
 * @param actions which of `add`, `change`, `delete` and `view` to include. Default: all four
 * @throws ConfigurationError for an invalid name, an unknown action, or an action that is listed
 *   twice
 */
export function modelPermissions<const Model extends string, const Action extends ModelAction = ModelAction>(
  model: Model,
  actions: readonly Action[] = MODEL_ACTIONS as readonly ModelAction[] as readonly Action[],
): Readonly<Record<`${Action}_${Model}`, string>> {
  if (!/^[a-z][a-z0-9_]{0,92}$/.test(model)) {
    throw new ConfigurationError(
      `modelPermissions("${model}"): "${model}" cannot be the name of a model. Use at most 93 lowercase letters, digits and _, ` +
        "beginning with a letter.",
    );
  }
  const labels: Record<string, string> = {};
  for (const action of actions) {
    if (!MODEL_ACTIONS.includes(action) || labels[`${action}_${model}`] !== undefined) {
      throw new ConfigurationError(
        `modelPermissions("${model}"): "${action}" is listed twice or is not an action. ` +
          `List each of ${MODEL_ACTIONS.join(", ")} at most once.`,
      );
    }
    labels[`${action}_${model}`] = `Can ${action} ${model.replaceAll("_", " ")}`;
  }
  return labels as Record<`${Action}_${Model}`, string>;
}

/**
 * Returns the permissions of a set, in the order of declaration.
 *
 * @throws ConfigurationError if the value is not a permission set
 */
export function permissionsOf(set: AnyPermissionSet): readonly Permission[] {
  const { app, labels } = set?.[declared] ?? {};
  if (app === undefined || labels === undefined) {
    throw new ConfigurationError(
      "The value is not a permission set, so its permissions are not known. Pass what definePermissions() returned.",
    );
  }
  return Object.keys(labels).map((codename) => `${app}.${codename}` as Permission);
}

/** All permissions that the app declares. It converts text to a {@link Permission}. */
export class PermissionCatalog {
  readonly #labels = new Map<string, string>();

  /**
   * @throws ConfigurationError if two sets have the same app, or a value is not a permission set
   */
  constructor(sets: readonly AnyPermissionSet[]) {
    const apps = new Set<string>();
    for (const set of sets) {
      const { app, labels } = set?.[declared] ?? {};
      if (app === undefined || labels === undefined) {
        throw new ConfigurationError(
          "createSallyport(): permissions contains a value that is not a permission set. List what definePermissions() returned.",
        );
      }
      if (apps.has(app)) {
        throw new ConfigurationError(
          `Two permission sets are declared for the app "${app}". Merge them into one definePermissions("${app}", …).`,
        );
      }
      apps.add(app);
      for (const [codename, label] of Object.entries(labels)) this.#labels.set(`${app}.${codename}`, label);
    }
  }

  /** Returns the name and the label of each permission, in the order of declaration. */
  list(): readonly { readonly name: Permission; readonly label: string }[] {
    return [...this.#labels].map(([name, label]) => ({ name: name as Permission, label }));
  }

  /** Returns the permission with a name, or undefined. */
  find(text: string): Permission | undefined {
    return this.#labels.has(text) ? (text as Permission) : undefined;
  }

  /**
   * Returns the permission with a name.
   *
   * @throws ConfigurationError if the app does not declare it. The message suggests the closest
   *   match
   */
  parse(text: string): Permission {
    const permission = this.find(text);
    if (permission) return permission;
    const suggestion = typeof text === "string" ? closestMatch(text, this.#labels.keys()) : "";
    const advice = suggestion || " Declare it with definePermissions(), or correct the name.";
    throw new ConfigurationError(`There is no permission ${JSON.stringify(text)}.${advice}`, {
      code: "SALLYPORT_UNKNOWN_NAME",
    });
  }
}
