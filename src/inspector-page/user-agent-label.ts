/** The browsers by their token. Edge and Opera come first, because they also contain "Chrome". */
const BROWSERS = [
  [/\bEdg\/(\d+)/, "Edge"],
  [/\bOPR\/(\d+)/, "Opera"],
  [/\bFirefox\/(\d+)/, "Firefox"],
  [/Chrome\/(\d+)/, "Chrome"],
  [/\bVersion\/(\d+).*\bSafari\//, "Safari"],
] as const;

/** The systems by their token. The user agent of Android contains "Linux" too. */
const SYSTEMS = [
  [/\bAndroid\b/, "Android"],
  [/\b(?:iPhone|iPad)\b/, "iOS"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b/, "macOS"],
  [/\bCrOS\b/, "ChromeOS"],
  [/\bLinux\b/, "Linux"],
] as const;

/** Returns a short name such as "Chrome 156, Linux" for a browser, and any other user agent as it is. */
export function userAgentLabel(userAgent: string): string {
  if (!userAgent.startsWith("Mozilla/")) return userAgent;
  for (const [pattern, name] of BROWSERS) {
    const version = pattern.exec(userAgent)?.[1];
    if (version === undefined) continue;
    const system = SYSTEMS.find(([token]) => token.test(userAgent))?.[1];
    return `${name} ${version}${system === undefined ? "" : `, ${system}`}`;
  }
  return userAgent;
}
