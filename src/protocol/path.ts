/**
 * Returns true for a path that is compared with the path of a request as it is: it begins with `/`, does not end with it, and has no
 * segment that URLs resolve, such as `..`.
 */
export function isPath(text: string): boolean {
  return /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+)+$/.test(text);
}

/**
 * Returns the path of a request target without its query and without `prefix`, or undefined if it is neither `/` nor in the form of
 * {@link isPath}.
 *
 * Nothing is resolved or decoded. A check in front of Sallyport, such as a proxy's rule for `/api/`, has seen the same path.
 *
 * @param target the request target as the client sent it, or as a framework passes it below a mount path
 * @param prefix what comes before Sallyport's own paths. Default: nothing
 */
export function ownPath(target: string, prefix = ""): string | undefined {
  const path = pathOf(target);
  if (!path.startsWith(prefix)) return undefined;
  const own = path.slice(prefix.length);
  return isPath(own) || own === "/" ? own : undefined;
}

/**
 * Returns true if a request target ends with the path `own` of Sallyport, after a prefix that a framework has matched.
 *
 * @param target the request target as the client sent it
 */
export function endsWithOwnPath(target: string, own: string): boolean {
  return isPath(own) && pathOf(target).endsWith(own) && isNormalForm(target);
}

/**
 * Returns true if a request target is in the normal form of RFC 3986 §6.2.2 and has no empty segment, so that no proxy or framework
 * reads another path from it. A prefix that a framework matches is in this form.
 */
export function isNormalForm(target: string): boolean {
  const path = pathOf(target);
  return isUnambiguous(target) && !EMPTY_SEGMENT.test(path) && !ENCODED_WITHOUT_NEED.test(path);
}

/**
 * Returns true if every URL parser reads the same segments from a request target: it is in origin form and has no dot segment,
 * backslash or fragment.
 */
export function isUnambiguous(target: string): boolean {
  const path = pathOf(target);
  return path.startsWith("/") && !/[\\#]/.test(path) && !DOT_SEGMENT.test(path);
}

/** Some servers ignore what follows a semicolon in a segment. */
const DOT_SEGMENT = /(?:\/|%2f|%5c)(?:\.|%2e){1,2}(?:$|\/|;|%2f|%5c|%3b)/i;
const EMPTY_SEGMENT = /\/(?:\/|;|%3b)/i;
/** Letters, digits and `-._~`. Source: RFC 3986 §2.3, "unreserved". */
const ENCODED_WITHOUT_NEED = /%(?:2[de]|3\d|4[1-9a-f]|5[\daf]|6[1-9a-f]|7[\dae])/i;

function pathOf(target: string): string {
  const end = target.indexOf("?");
  return end < 0 ? target : target.slice(0, end);
}
