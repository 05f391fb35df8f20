import { ProvisioningError } from "../../errors.ts";
import { foreignExcerpt } from "../../protocol/foreign-body.ts";

/** The part of an HTTP request and response of AWS's SDK that is read here. */
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

/** As much of a client of AWS's SDK as is needed. Its own types differ for each service. */
interface SdkClient {
  readonly middlewareStack: { add(middleware: never, options: never): void };
}

/**
 * Makes a client throw for a response that is not JSON, such as the page of a proxy between this machine and AWS. The SDK would report a
 * syntax error, and an operation could mistake the status of the proxy for that of AWS.
 */
export function rejectForeignAnswers(client: SdkClient, region: string): void {
  const middleware =
    (next: Next, { commandName = "" }: { readonly commandName?: string }) =>
    async (args: { readonly request: unknown }) => {
      const result = await next(args);
      const response = result.response as SdkResponse;
      const body = await bytesOf(response.body);
      // It can be read once, so the SDK receives what was read.
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
  // Only a server that fails may answer otherwise in a moment. Another status, such as 404, says nothing about AWS.
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
