import { ProvisioningError } from "../../errors.ts";
import { foreignExcerpt } from "../../protocol/foreign-body.ts";

/** The fields of a request and a response of the AWS SDK that are read here. */
interface SdkRequest {
  readonly protocol?: string;
  readonly hostname?: string;
  readonly port?: number;
  readonly path?: string;
}
interface SdkResponse {
  readonly statusCode?: number;
  body?: unknown;
}

type Next = (args: { readonly request: unknown }) => Promise<{ readonly response: unknown }>;

/**
 * The part of an AWS SDK client that is used here. The types of the SDK differ for each service.
 */
interface SdkClient {
  readonly middlewareStack: { add(middleware: never, options: never): void };
}

/**
 * Makes a client throw for a response that is not JSON, such as the page of a proxy between this
 * machine and AWS.
 *
 * Without it, the SDK would report a syntax error. An operation could also mistake the status of
 * the proxy for that of AWS.
 */
export function rejectForeignAnswers(client: SdkClient, region: string): void {
  const middleware =
    (next: Next, { commandName = "" }: { readonly commandName?: string }) =>
    async (args: { readonly request: unknown }) => {
      const result = await next(args);
      const response = result.response as SdkResponse;
      const body = await bytesOf(response.body);
      // A body can be read only once, so the SDK receives the bytes that were read.
      response.body = body;
      const excerpt = foreignExcerpt(body.toString("utf8"));
      if (excerpt === undefined) return result;
      throw failure(
        `${commandName.replace(/Command$/, "")} in ${region}`,
        args.request as SdkRequest,
        response,
        excerpt,
      );
    };
  const options = { step: "deserialize", priority: "low", name: "sallyportForeignAnswers" };
  client.middlewareStack.add(middleware as never, options as never);
}

function failure(
  operation: string,
  { protocol = "https:", hostname = "", port, path = "" }: SdkRequest,
  { statusCode = 0 }: SdkResponse,
  excerpt: string,
): ProvisioningError {
  const url = `${protocol}//${hostname}${port === undefined ? "" : `:${port}`}${path}`;
  // A retry can succeed after a server failure. Another status, such as 404, does not come from
  // AWS.
  const awsStatus = statusCode >= 500 || statusCode === 429 ? statusCode : undefined;
  return new ProvisioningError(
    `${operation} was answered ${statusCode} by ${url}, and not with the JSON of AWS: ${excerpt}. ` +
      "Check the proxy or the endpoint between this machine and AWS.",
    { awsStatus },
  );
}

async function bytesOf(body: unknown): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body);
  const chunks: Uint8Array[] = [];
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
