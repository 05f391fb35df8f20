/**
 * Returns true for a path that is compared with the path of a request as it is: it begins with `/`, does not end with it, and has no
 * segment that URLs resolve, such as `..`.
 */
export function isPath(text: string): boolean {
  return /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+)+$/.test(text);
}
