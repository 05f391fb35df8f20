import type { CredentialProvider } from "../../src/delivery/credentials.ts";
import type { AwsCredentials } from "../../src/delivery/sigv4.ts";
import { bySmithy } from "../aws/by-smithy.ts";

export class AwsQueryError extends Error {
  readonly code: string;

  constructor(action: string, status: number, code: string, message: string) {
    super(`${action} was answered ${status}: ${code}: ${message}`);
    this.code = code;
  }
}

/** IAM belongs to no region. Its calls are signed for this one. */
const IAM_REGION = "us-east-1";
const VERSIONS = { iam: "2010-05-08", sts: "2011-06-15" } as const;

/**
 * Calls IAM and STS, which have the Query protocol: a form as the request, and XML as the response.
 *
 * The repository has no SDK clients for these services. Seven operations do not need them.
 */
export class QueryApi {
  readonly #region: string;
  readonly #credentials: CredentialProvider;

  constructor(region: string, credentials: CredentialProvider) {
    this.#region = region;
    this.#credentials = credentials;
  }

  /**
   * Performs an operation, and returns the XML of the response.
   *
   * @throws AwsQueryError if AWS rejects the call
   */
  async call(
    service: "iam" | "sts",
    action: string,
    parameters: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const region = service === "iam" ? IAM_REGION : this.#region;
    const host = service === "iam" ? "iam.amazonaws.com" : `sts.${region}.amazonaws.com`;
    const url = new URL(process.env.AWS_ENDPOINT_URL ?? `https://${host}/`);
    const body = new URLSearchParams({
      Action: action,
      Version: VERSIONS[service],
      ...parameters,
    }).toString();
    const contentType = "application/x-www-form-urlencoded; charset=utf-8";
    const signed = { method: "POST", host: url.host, path: "/", body, contentType, service } as const;
    const credentials: AwsCredentials = await this.#credentials();
    const { host: _, ...headers } = await bySmithy(region, credentials, signed, Date.now());
    const response = await fetch(url, { method: "POST", headers: headers as Record<string, string>, body });
    const xml = await response.text();
    if (response.ok) return xml;
    throw new AwsQueryError(
      action,
      response.status,
      valuesOf(xml, "Code")[0] ?? "Unknown",
      valuesOf(xml, "Message")[0] ?? "no message",
    );
  }
}

/** Returns the texts of all elements with a name. The elements contain no other elements. */
export function valuesOf(xml: string, element: string): readonly string[] {
  const pattern = new RegExp(`<${element}>([^<]*)</${element}>`, "g");
  return [...xml.matchAll(pattern)].map(([, text = ""]) =>
    text.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&"),
  );
}
