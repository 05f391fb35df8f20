import { closestMatch } from "../closest-match.ts";
import { ConfigurationError } from "../errors.ts";
import { check } from "./checks.ts";
import { type GatewayDefinition, isDefined } from "./define-gateway.ts";
import { urlOfTarget, viewOf } from "./targets.ts";

/**
 * Checks the gateways of an app against its views, and returns them by name.
 *
 * @param views the mounted views by path
 * @throws ConfigurationError for two gateways with one name, and for a URL that leads to no view.
 *   Also for a view that does not read the field by which the gateway selects routes.
 */
export function definedGateways(
  definitions: readonly GatewayDefinition[],
  views: ReadonlyMap<string, TargetView>,
): ReadonlyMap<string, GatewayDefinition> {
  const byName = new Map<string, GatewayDefinition>();
  for (const definition of definitions) {
    if (!isDefined(definition)) {
      throw new ConfigurationError(
        "gateways: an entry was not created by defineGateway, so it is not checked. Write it as defineGateway({ … }).",
      );
    }
    if (byName.has(definition.name)) {
      throw new ConfigurationError(
        `gateways: two are named "${definition.name}". Give each a different name.`,
      );
    }
    checkTargets(definition, views);
    byName.set(definition.name, definition);
  }
  return byName;
}

/**
 * Returns the gateway with a name, or the only gateway if no name is given.
 *
 * @throws ConfigurationError that lists the defined gateways, if none or several match
 */
export function getDefinition(
  definitions: ReadonlyMap<string, GatewayDefinition>,
  name: string | undefined,
): GatewayDefinition {
  const [only, ...others] = definitions.values();
  if (!only) {
    throw new ConfigurationError(
      "The app defines no gateway. Add one: createSallyport({ gateways: [defineGateway({ … })] })",
    );
  }
  const known = `Use one of: ${[...definitions.keys()].join(", ")}.`;
  if (name === undefined) {
    if (others.length === 0) return only;
    throw new ConfigurationError(`The app defines several gateways, so a name is required. ${known}`);
  }
  const found = definitions.get(name);
  if (found) return found;
  throw new ConfigurationError(
    `The app defines no gateway "${name}".${closestMatch(name, definitions.keys())} ${known}`,
    { code: "SALLYPORT_UNKNOWN_NAME" },
  );
}

/**
 * Returns the paths of the views to which no gateway leads. A function can serve each view, so the
 * result is empty if a gateway has one. Without gateways, the result is empty too.
 */
export function viewsWithoutGateway(
  definitions: ReadonlyMap<string, GatewayDefinition>,
  views: readonly string[],
): readonly string[] {
  const paths: string[] = [];
  for (const { target, routes } of definitions.values()) {
    const urls = [target, ...routes.values()].map(urlOfTarget);
    const [url, ...others] = urls.filter((each) => each !== undefined);
    if (url === undefined || urls.includes(undefined)) return [];
    paths.push(new URL(url).pathname, ...others.map((other) => viewOf(other).viewPath));
  }
  // A proxy can remove a prefix of the path.
  const served = paths.map((path) => views.filter((view) => path.endsWith(view)).sort(longestFirst)[0]);
  return paths.length === 0 ? [] : views.filter((view) => !served.includes(view));
}

const longestFirst = (a: string, b: string) => b.length - a.length;

/** The fields of a mounted view that a gateway is checked against. */
export interface TargetView {
  readonly handlerKey: string;
  readonly routeKey: string;
}

/**
 * Checks that the URLs of a gateway lead to mounted views, and that these views read the field by
 * which the gateway selects routes.
 *
 * @param views the mounted views by path. The path of a target must end with one of these paths,
 *   because a proxy can remove a prefix.
 * @throws ConfigurationError that names the URL and the views
 */
function checkTargets(definition: GatewayDefinition, views: ReadonlyMap<string, TargetView>): void {
  const where = `Gateway "${definition.name}"`;
  const { target, routes, routeSelectionExpression } = definition;
  const [, field] = /^\$request\.body\.([A-Za-z0-9_-]+)$/.exec(routeSelectionExpression) ?? [];
  const checkView = (what: string, url: string, path: string) => {
    const [viewPath, view] = [...views].find(([each]) => path.endsWith(each)) ?? [];
    check(
      where,
      view !== undefined,
      `${what} ${url} leads to no view. Use the path of a mounted view: ${[...views.keys()].join(", ")}`,
    );
    const isRead = field === undefined || field === view.routeKey || field === view.handlerKey;
    check(
      where,
      routes.size === 0 || isRead,
      `the route of a message is selected by "${field}", but the view at ${viewPath} reads "${view.routeKey}". Set routeKey = "${field}" in the view, or routeSelectionExpression: "$request.body.${view.routeKey}" in the gateway`,
    );
  };
  if (typeof target === "string") checkView("target", target, new URL(target).pathname);
  for (const [key, url] of routes) {
    if (typeof url === "string") checkView(`routes["${key}"]`, url, viewOf(url).viewPath);
  }
}
