import { MAX_ROUTES } from "../protocol/quotas.ts";
import { shown } from "../shown.ts";
import { check, isRecord } from "./checks.ts";

/** A Lambda function that serves a view. */
export interface LambdaTarget {
  /** The function's ARN, perhaps with an alias: `arn:aws:lambda:eu-west-1:123456789012:function:chat:live`. */
  readonly lambda: string;
}

/** Where an integration's calls go. */
export type Target = string | LambdaTarget;

const LAMBDA_ARN =
  /^arn:(aws[a-z-]*):lambda:([a-z0-9-]+):(\d{12}):function:[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?$/;

/** Where the path of a URL leads: a view's path, and the name of the route below it. */
export function viewOf(target: string): { readonly viewPath: string; readonly route: string } {
  const { pathname } = new URL(target);
  const end = pathname.lastIndexOf("/");
  return { viewPath: pathname.slice(0, end), route: pathname.slice(end + 1) };
}

/** The account of a function's ARN. */
export function accountOf({ lambda }: LambdaTarget): string {
  return LAMBDA_ARN.exec(lambda)?.[3] ?? "";
}

/** ARNs of the functions among a gateway's targets, each once. */
export function functionsOf({
  target,
  routes,
}: {
  readonly target: Target;
  readonly routes: ReadonlyMap<string, Target>;
}): readonly string[] {
  const all = [target, ...routes.values()];
  return [...new Set(all.flatMap((each) => (typeof each === "string" ? [] : [each.lambda])))];
}

/** @throws ConfigurationError for what AWS could not call, or should not */
export function checkedTarget(where: string, what: string, target: Target, region: string): Target {
  if (typeof target === "object" && target !== null) {
    const { lambda } = target;
    const arn = typeof lambda === "string" ? LAMBDA_ARN.exec(lambda) : null;
    check(where, arn !== null, `${what}.lambda is a function's ARN, not ${shown(lambda)}`);
    check(
      where,
      arn?.[2] === region,
      `${what}.lambda is in ${arn?.[2]}, and an API calls functions of its own region only`,
    );
    return Object.freeze({ lambda });
  }
  check(
    where,
    typeof target === "string" && URL.canParse(target),
    `${what} is a URL such as https://www.example.com/ws/chat, or { lambda: "arn:…" }, not ${shown(target)}`,
  );
  const url = new URL(target);
  // Before whatever repeats the URL.
  check(
    where,
    !url.username && !url.password,
    `${what} has a name or password in it, which AWS would not send`,
  );
  check(
    where,
    url.protocol === "https:",
    `${what} ${target} must be https://: its secret and your users' cookies travel there`,
  );
  check(
    where,
    // Not `search` and `hash`, which are empty for a mere ? or # at the end.
    !/[?#]/.test(url.href),
    `${what} ${target} has a query or fragment; write the URL up to its path`,
  );
  check(where, url.href.length <= 2000, `${what} is longer than 2000 characters`);
  return url.href.replace(/\/+$/, "");
}

/** By key, in the order of their names. @throws ConfigurationError */
export function checkedRoutes(
  where: string,
  routes: Readonly<Record<string, Target>>,
  region: string,
): ReadonlyMap<string, Target> {
  check(where, isRecord(routes), `routes is an object of route keys and their targets, not ${shown(routes)}`);
  const entries = Object.entries(routes).map(([key, target]) => {
    check(
      where,
      /^[^$\s]/.test(key) && key.length <= 128,
      `routes has the key ${shown(key)}; a route key is 1 to 128 characters and does not begin with $`,
    );
    const checked = checkedTarget(where, `routes["${key}"]`, target, region);
    if (typeof checked === "string") {
      const { route } = viewOf(checked);
      check(
        where,
        /^[A-Za-z0-9_-]+$/.test(route) && route !== "connect" && route !== "disconnect",
        `routes["${key}"] ends with a name of its own below the view's path, such as /ws/chat/${/^[A-Za-z0-9_-]+$/.test(key) ? key : "default"}`,
      );
    }
    return [key, checked] as const;
  });
  check(
    where,
    entries.length <= MAX_ROUTES - 3,
    `routes has ${entries.length} keys; an API has ${MAX_ROUTES} routes at most`,
  );
  return new Map(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}
