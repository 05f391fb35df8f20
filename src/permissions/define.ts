import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";

declare const brand: unique symbol;

/**
 * A permission, `app.codename`. At run time it is that text; the type is branded, so that text alone is not a
 * permission and a typo does not compile.
 */
export type Permission = string & { readonly [brand]: "permission" };

const declared = Symbol("sallyport.permissions");

/** The permissions of one app, each under its codename. Made by {@link definePermissions}. */
export type PermissionSet<Codename extends string = string> = {
  readonly [Name in Codename]: Permission;
} & { readonly [declared]: { readonly app: string; readonly labels: Readonly<Record<Codename, string>> } };

/** Any permission set, whatever its app. */
export interface AnyPermissionSet {
  readonly [declared]: { readonly app: string; readonly labels: Readonly<Record<string, string>> };
}

/** Codename → what a person reads. */
type Labels = Readonly<Record<string, string>>;

/** Every codename of several objects of labels. */
type CodenameOf<Declared extends Labels> = Declared extends unknown ? keyof Declared & string : never;

/**
 * Declares an app's permissions once; everything else uses the values it returns.
 *
 * ```ts
 * const shop = definePermissions("shop", modelPermissions("article"), { can_ship: "Can ship orders" });
 * ```
 *
 * @param app lower-case letters, digits and `_`, beginning with a letter
 * @param labels codename → what a person reads; a codename is letters, digits and `_`, at most 100 characters.
 *   Several objects are one set, in which no codename may occur twice
 * @throws ConfigurationError for a name of another form, one declared twice, an empty label, or one over 255 characters
 */
export function definePermissions<const Declared extends readonly [Labels, ...Labels[]]>(
  app: string,
  ...labels: Declared
): PermissionSet<CodenameOf<Declared[number]>> {
  if (!/^[a-z][a-z0-9_]{0,99}$/.test(app)) {
    throw new ConfigurationError(
      `definePermissions("${app}"): an app's name is lower-case letters, digits and _, and begins with a letter.`,
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
      throw new ConfigurationError(`Permission ${app}.${codename} needs a label of 1 to 255 characters.`);
    }
    if (Object.hasOwn(set, codename)) {
      throw new ConfigurationError(
        `definePermissions("${app}") declares ${app}.${codename} twice, as "${labelled[codename]}" and as "${label}". Keep one.`,
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

/** What each model has, as Django's does. */
const MODEL_ACTIONS = ["add", "change", "delete", "view"] as const;

type ModelAction = (typeof MODEL_ACTIONS)[number];

/**
 * The usual labels for a model, to be given to {@link definePermissions} beside others: `modelPermissions("article")`
 * gives `add_article`, `change_article`, `delete_article` and `view_article`, labelled "Can add article" and so on.
 *
 * @param model lower-case letters, digits and `_`, beginning with a letter
 * @param actions which of the four; all by default
 * @throws ConfigurationError for a name of another form, an action that is none of the four, or one named twice
 */
export function modelPermissions<const Model extends string, const Action extends ModelAction = ModelAction>(
  model: Model,
  actions: readonly Action[] = MODEL_ACTIONS as readonly ModelAction[] as readonly Action[],
): Readonly<Record<`${Action}_${Model}`, string>> {
  if (!/^[a-z][a-z0-9_]{0,92}$/.test(model)) {
    throw new ConfigurationError(
      `modelPermissions("${model}"): a model's name is lower-case letters, digits and _, and begins with a letter.`,
    );
  }
  const labels: Record<string, string> = {};
  for (const action of actions) {
    if (!MODEL_ACTIONS.includes(action) || labels[`${action}_${model}`] !== undefined) {
      throw new ConfigurationError(
        `modelPermissions("${model}"): "${action}" is named twice, or is not one of ${MODEL_ACTIONS.join(", ")}.`,
      );
    }
    labels[`${action}_${model}`] = `Can ${action} ${model.replaceAll("_", " ")}`;
  }
  return labels as Record<`${Action}_${Model}`, string>;
}

/** The permissions of one set, in the order of declaration. */
export function permissionsOf(set: AnyPermissionSet): readonly Permission[] {
  const { app, labels } = set?.[declared] ?? {};
  if (app === undefined || labels === undefined) {
    throw new ConfigurationError("Name an app by what definePermissions() returned for it.");
  }
  return Object.keys(labels).map((codename) => `${app}.${codename}` as Permission);
}

/** Every permission an app has declared: the only way from text to a {@link Permission}. */
export class PermissionCatalog {
  readonly #labels = new Map<string, string>();

  /** @throws ConfigurationError when two sets are of one app, or a value was not made by definePermissions */
  constructor(sets: readonly AnyPermissionSet[]) {
    const apps = new Set<string>();
    for (const set of sets) {
      const { app, labels } = set?.[declared] ?? {};
      if (app === undefined || labels === undefined) {
        throw new ConfigurationError("permissions: [...] takes what definePermissions() returned.");
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

  /** Name and label of each, in the order of declaration. */
  list(): readonly { readonly name: Permission; readonly label: string }[] {
    return [...this.#labels].map(([name, label]) => ({ name: name as Permission, label }));
  }

  /** The permission of that name, or undefined. */
  find(text: string): Permission | undefined {
    return this.#labels.has(text) ? (text as Permission) : undefined;
  }

  /** @throws ConfigurationError that names the nearest permission when there is none of that name */
  parse(text: string): Permission {
    const permission = this.find(text);
    if (permission) return permission;
    const words =
      typeof text === "string"
        ? `"${text}".${closestMatch(text, this.#labels.keys())}`
        : `${JSON.stringify(text)}.`;
    throw new ConfigurationError(`There is no permission ${words}`, { code: "SALLYPORT_UNKNOWN_NAME" });
  }
}
