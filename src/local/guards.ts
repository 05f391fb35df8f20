import { ConfigurationError } from "../errors.ts";
import { API_KEY_SELECTION_EXPRESSIONS, type ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
import { compileAuthorizer, type DeployedAuthorizer, type FunctionAuthorizer } from "./authorizer.ts";
import { checkShape, type Shape } from "./shape.ts";
import type { SigningCredentials } from "./signature.ts";

/** Who may connect: whom a function lets in, or who signs the upgrade request with the gateway's `credentials`. */
export type LocalAuthorization = FunctionAuthorizer | IamAuthorization;

/**
 * Asks for a Signature Version 4 of the upgrade request, in its headers or in its query. Others are refused with 403.
 *
 * Source: AWS developer guide, "Control access to WebSocket APIs with IAM authorization".
 */
export interface IamAuthorization {
  readonly type: "AWS_IAM";
}

/** What `$connect` asks for before its integration is called, as it is served. */
export interface Guard {
  readonly authorization: DeployedAuthorization | undefined;
  /** Undefined where no API key is asked for. */
  readonly apiKey: ApiKeySelectionExpression | undefined;
}

type DeployedAuthorization =
  | DeployedAuthorizer
  | { readonly type: "AWS_IAM"; readonly credentials: SigningCredentials };

/** What is guarded of a route. */
interface GuardedRoute {
  readonly authorization?: LocalAuthorization;
  readonly apiKeyRequired?: boolean;
}

/** @throws ConfigurationError for what AWS would refuse, and for signatures that nobody could make */
export function compileGuard(
  where: string,
  routes: Readonly<Record<string, GuardedRoute>>,
  expression: ApiKeySelectionExpression = "$request.header.x-api-key",
  credentials: SigningCredentials | undefined,
): Guard {
  for (const [key, route] of Object.entries(routes)) {
    const guard = route.authorization ? "authorization" : route.apiKeyRequired ? "apiKeyRequired" : undefined;
    if (guard && key !== "$connect")
      throw new ConfigurationError(`${where}: routes["${key}"]: ${guard} is for $connect, as at AWS.`);
  }
  if (!API_KEY_SELECTION_EXPRESSIONS.includes(expression)) {
    throw new ConfigurationError(
      `${where}: apiKeySelectionExpression is "${API_KEY_SELECTION_EXPRESSIONS.join('" or "')}", not "${expression}".`,
    );
  }
  const { authorization, apiKeyRequired = false } = routes.$connect ?? {};
  const deployed = authorization && compileAuthorization(`${where}: $connect`, authorization, credentials);
  if (
    apiKeyRequired &&
    expression === "$context.authorizer.usageIdentifierKey" &&
    deployed?.type !== "CUSTOM"
  )
    throw new ConfigurationError(
      `${where}: ${expression} is what an authorizer says, and $connect has none. Write: authorization: { type: "CUSTOM", handler }.`,
    );
  return { authorization: deployed, apiKey: apiKeyRequired ? expression : undefined };
}

function compileAuthorization(
  where: string,
  authorization: LocalAuthorization,
  credentials: SigningCredentials | undefined,
): DeployedAuthorization {
  if (authorization.type === "CUSTOM") return compileAuthorizer(where, authorization);
  if (authorization.type !== "AWS_IAM")
    throw new ConfigurationError(`${where}: an authorization's type is "CUSTOM" or "AWS_IAM".`);
  checkShape(`${where}: authorization`, authorization, { type: "text" } satisfies Shape<IamAuthorization>);
  if (credentials) return { type: "AWS_IAM", credentials };
  throw new ConfigurationError(
    `${where}: AWS_IAM needs somebody who may sign. Write: credentials: { accessKeyId, secretAccessKey }.`,
  );
}
