import type { IncomingMessage } from "node:http";
import type { Deployment } from "./apis.ts";
import { ACCOUNT_ID } from "./arns.ts";
import { askAuthorizer } from "./authorizer.ts";
import type { ConnectEvent, Signer } from "./events.ts";
import { judgeSignature, type SigningCredentials } from "./signature.ts";
import type { Stage } from "./stages.ts";

/** Whether a client may connect; an event that tells who it is, or the status that it is refused with. */
type Admission =
  | { readonly kind: "admitted"; readonly event: ConnectEvent }
  | { readonly kind: "refused"; readonly status: number; readonly error?: unknown };

/**
 * Judges whether a client may connect at a stage: by its authorization, then by its API key. Later messages are not judged again.
 *
 * @param deployment what the stage served when the client came
 */
export async function admit(
  event: ConnectEvent,
  request: IncomingMessage,
  stage: Stage,
  { guard }: Deployment,
): Promise<Admission> {
  const { authorization, apiKey: expression } = guard;
  let admitted = event;
  let key = request.headers["x-api-key"];
  if (authorization?.type === "AWS_IAM") {
    const refusal = judgeSignature(request, Buffer.alloc(0), authorization.credentials);
    if (refusal !== undefined) return { kind: "refused", status: 403 };
    admitted = { ...event, signer: signerOf(authorization.credentials) };
  } else if (authorization) {
    const verdict = await askAuthorizer(event, authorization, stage.arnOf("$connect"));
    if (verdict.kind === "refused") return verdict;
    event.connection.authorizer = verdict.authorizer;
    if (expression === "$context.authorizer.usageIdentifierKey") key = verdict.usageIdentifierKey;
  }
  if (!expression) return { kind: "admitted", event: admitted };
  const found = stage.apiKeys.find(String(key ?? ""));
  return found ? { kind: "admitted", event: { ...admitted, key: found } } : { kind: "refused", status: 403 };
}

/** The one user of the local account. AWS's forms of ids; only the access key is anybody's choice. */
function signerOf({ accessKeyId }: SigningCredentials): Signer {
  const id = "AIDALOCALGATEWAYUSER0";
  const userArn = `arn:aws:iam::${ACCOUNT_ID}:user/local`;
  return { accessKey: accessKeyId, accountId: ACCOUNT_ID, caller: id, user: id, userArn };
}
