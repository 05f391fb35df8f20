import type { IncomingMessage } from "node:http";
import type { Deployment } from "./apis.ts";
import { callAuthorizer } from "./authorizer.ts";
import type { ConnectEvent, Signer } from "./events.ts";
import { ACCOUNT_ID } from "./ids.ts";
import { checkSignature, type SigningCredentials } from "./signature.ts";
import type { Stage } from "./stages.ts";

/** The result of an authorization: the event with the identity of the client, or a status. */
type Admission =
  | { readonly kind: "admitted"; readonly event: ConnectEvent }
  | { readonly kind: "rejected"; readonly status: number; readonly error?: unknown };

/**
 * Authorizes a connect at a stage, first by the authorization of the route, and then by the API
 * key. Later messages are not authorized again.
 *
 * @param deployment the deployment that the stage served when the request arrived
 */
export async function authorizeConnect(
  event: ConnectEvent,
  request: IncomingMessage,
  stage: Stage,
  { guard }: Deployment,
): Promise<Admission> {
  const { authorization, apiKey: expression } = guard;
  let admitted = event;
  let key = request.headers["x-api-key"];
  if (authorization?.type === "AWS_IAM") {
    const problem = checkSignature(request, Buffer.alloc(0), authorization.credentials);
    if (problem !== undefined) return { kind: "rejected", status: 403 };
    admitted = { ...event, signer: signerOf(authorization.credentials) };
  } else if (authorization) {
    const result = await callAuthorizer(event, authorization, stage.arnOf("$connect"));
    if (result.kind === "rejected") return result;
    event.connection.authorizer = result.authorizer;
    if (expression === "$context.authorizer.usageIdentifierKey") key = result.usageIdentifierKey;
  }
  if (!expression) return { kind: "admitted", event: admitted };
  const found = stage.apiKeys.find(String(key ?? ""));
  return found ? { kind: "admitted", event: { ...admitted, key: found } } : { kind: "rejected", status: 403 };
}

/** Returns the only user of the local account, with ids in the form of AWS. */
function signerOf({ accessKeyId }: SigningCredentials): Signer {
  const id = "AIDALOCALGATEWAYUSER0";
  const userArn = `arn:aws:iam::${ACCOUNT_ID}:user/local`;
  return { accessKey: accessKeyId, accountId: ACCOUNT_ID, caller: id, user: id, userArn };
}
