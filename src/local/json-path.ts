/**
 * Parses a path such as `a.b[0].c` to its names. Returns undefined for a path that is not
 * supported.
 */
export function parsePath(path: string): readonly string[] | undefined {
  if (!/^[^.[\]]+(\.[^.[\]]+|\[\d+\])*$/.test(path)) return undefined;
  return path.match(/[^.[\]]+/g) ?? [];
}

/** Returns the value at a path, or undefined. */
export function find(body: unknown, path: readonly string[]): unknown {
  let value = body;
  for (const name of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
