/**
 * Returns whether a path can be compared with the path of a request without changes.
 *
 * Such a path begins with `/` and does not end with it. It has no segment that URLs resolve, such
 * as `..`.
 */
export function isPath(text: string): boolean {
  return /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+)+$/.test(text);
}

/**
 * Returns the path of a request target without its query and without `prefix`.
 *
 * The path is not resolved or decoded. So a check in front of Sallyport, such as a rule of a proxy
 * for `/api/`, has read the same path.
 *
 * @param target the request target as the client sent it, or as a framework passes it below a mount
 *   path
 * @param prefix the path before the paths of Sallyport. Default: none
 * @returns `undefined` if the path is neither `/` nor valid according to {@link isPath}
 */
export function ownPath(target: string, prefix = ""): string | undefined {
  const path = pathOf(target);
  if (!path.startsWith(prefix)) return undefined;
  const own = path.slice(prefix.length);
  return isPath(own) || own === "/" ? own : undefined;
}

/**
 * Returns whether a request target ends with the path `own`, after a prefix that a framework has
 * matched.
 *
 * @param target the request target as the client sent it
 */
export function endsWithOwnPath(target: string, own: string): boolean {
  return isPath(own) && pathOf(target).endsWith(own) && isNormalForm(target);
}

/**
 * Returns whether a request target is in the normal form of RFC 3986 §6.2.2, without empty
 * segments.
 *
 * Then every proxy and framework reads the same path. A prefix that a framework matches is in this
 * form.
 */
export function isNormalForm(target: string): boolean {
  const path = pathOf(target);
  return isUnambiguous(target) && !EMPTY_SEGMENT.test(path) && !ENCODED_UNRESERVED.test(path);
}

/**
 * Returns whether every URL parser reads the same segments from a request target.
 *
 * The target must be in origin form, without dot segments, backslashes or a fragment.
 */
export function isUnambiguous(target: string): boolean {
  const path = pathOf(target);
  return path.startsWith("/") && !/[\\#]/.test(path) && !DOT_SEGMENT.test(path);
}

/** A dot segment. Some servers ignore the part of a segment after a semicolon. */
const DOT_SEGMENT = /(?:\/|%2f|%5c)(?:\.|%2e){1,2}(?:$|\/|;|%2f|%5c|%3b)/i;
const EMPTY_SEGMENT = /\/(?:\/|;|%3b)/i;
/** Encoded letters, digits or `-._~`. Source: RFC 3986 §2.3, "unreserved". */
const ENCODED_UNRESERVED = /%(?:2[de]|3\d|4[1-9a-f]|5[\daf]|6[1-9a-f]|7[\dae])/i;

function pathOf(target: string): string {
  const end = target.indexOf("?");
  return end < 0 ? target : target.slice(0, end);
}
