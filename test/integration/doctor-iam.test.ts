import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { callGateway } from "../../src/cli/doctor/iam.ts";
import { HttpManagementApi } from "../../src/delivery/management-api.ts";
import { type ApiGatewayOptions, createSallyport, WebSocketView } from "../../src/index.ts";
import { INTERNAL } from "../../src/internal.ts";
import { sqlite } from "../../src/storage/sqlite.ts";

const SIGNING = {
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not a secret" },
  region: "eu-west-1",
};
const JSON_TYPE = { "content-type": "application/json" };

class AnyView extends WebSocketView {
  static override signedIn = true;
  static override receiveOnly = true;
}

interface Request {
  readonly line: string;
  readonly headers: IncomingHttpHeaders;
}

/**
 * Makes the call of the check `iam`, with the Management API at a local server. The check itself
 * skips local gateways, because they need no credentials.
 */
async function callFrom(answer: (response: ServerResponse) => void, apiGateway: ApiGatewayOptions = SIGNING) {
  const requests: Request[] = [];
  const server = createServer(({ method, url, headers }, response) => {
    requests.push({ line: `${method} ${url}`, headers });
    answer(response);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const sallyport = createSallyport({
    storage: sqlite(":memory:"),
    permissions: [],
    views: { "/ws/any": AnyView },
    authenticate: () => null,
    allowMissingOrigin: true,
    apiGateway,
  });
  onTestFinished(async () => {
    await sallyport.close();
    server.closeAllConnections();
    server.close();
  });
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/production`;
  const { inspection } = sallyport[INTERNAL];
  const finding = await callGateway({ inspection, definitions: new Map() }, { name: "chat", endpoint });
  return { finding, requests, endpoint };
}

/** Answers as API Gateway does: the error is in a header and in a JSON body. */
const awsError = (status: number, type: string, body: object) => (response: ServerResponse) =>
  response.writeHead(status, { ...JSON_TYPE, "x-amzn-errortype": type }).end(JSON.stringify(body));

describe("the call of doctor to the Management API", () => {
  test("passes for 410, with a signed request for a connection that does not exist", async () => {
    const { finding, requests } = await callFrom(awsError(410, "GoneException", { message: "Gone" }));
    expect(finding).toEqual({
      status: "ok",
      message: 'The credentials of this environment allow calls of the Management API of gateway "chat".',
    });
    expect(requests).toMatchObject([
      {
        line: `GET /production/@connections/${encodeURIComponent("AAAAAAAAAAAAAAA=")}`,
        headers: {
          authorization: expect.stringMatching(
            /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/execute-api\/aws4_request, /,
          ),
        },
      },
    ]);
  });

  test("passes for 400, because AWS checks the credentials before the connection id", async () => {
    const { finding } = await callFrom(
      awsError(400, "BadRequestException", { message: "Invalid connectionId: AAAAAAAAAAAAAAA=" }),
    );
    expect(finding.status).toBe("ok");
  });

  test("fails for 403, with the error of AWS and the endpoint", async () => {
    const { finding, endpoint } = await callFrom(
      awsError(403, "AccessDeniedException", {
        Message:
          "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: execute-api:ManageConnections",
      }),
    );
    expect(finding).toEqual({
      status: "failed",
      message: `The Management API of gateway "chat" (${endpoint}) denies the credentials of this environment: status 403 AccessDeniedException.`,
      fix: "Attach a policy that allows execute-api:ManageConnections to the role of the app. Check the endpoint, too: npx sallyport gateway status.",
    });
  });

  test("warns for 404, which an endpoint of another service returns", async () => {
    const { finding, endpoint } = await callFrom((response) =>
      response.writeHead(404, { "content-type": "text/html" }).end("<h1>Not found</h1>"),
    );
    expect(finding).toMatchObject({
      status: "warning",
      message: expect.stringContaining(`(${endpoint}) could not be called: status 404`),
    });
    expect(finding.message).toContain("which is not an answer of API Gateway: ");
  });

  test("warns if the connection is closed without an answer", async () => {
    const { finding, requests } = await callFrom((response) => response.destroy());
    expect(finding).toMatchObject({
      status: "warning",
      message: expect.stringContaining("could not be called: "),
      fix: expect.stringMatching(/^Check the network\./),
    });
    expect(requests).toHaveLength(1);
  });

  test("warns if no answer arrives in time", async () => {
    const client = new HttpManagementApi({ ...SIGNING, timeoutMs: 300 });
    const { finding } = await callFrom(() => undefined, { client });
    expect(finding).toMatchObject({ status: "warning", message: expect.stringMatching(/: timeout\.$/) });
  });

  test("warns without a call if the credentials cannot be read", async () => {
    const { finding, requests } = await callFrom((response) => response.end(), {
      region: "eu-west-1",
      credentials: async () => {
        throw new Error("The profile does not exist.");
      },
    });
    expect(finding).toMatchObject({ status: "warning" });
    expect(finding.message).toContain("The profile does not exist.");
    expect(requests).toEqual([]);
  });
});
