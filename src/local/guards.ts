import { ConfigurationError } from "../errors.ts";
import { API_KEY_SELECTION_EXPRESSIONS, type ApiKeySelectionExpression } from "../protocol/api-key-source.ts";
import { compileAuthorizer, type DeployedAuthorizer, type FunctionAuthorizer } from "./authorizer.ts";
import { checkShape, type Shape } from "./shape.ts";
import type { SigningCredentials } from "./signature.ts";

/**
 * The authorization of a connect: a Lambda authorizer, or a signature with the gateway's
 * `credentials`.
 */
export type LocalAuthorization = FunctionAuthorizer | IamAuthorization;

/**
 * Requires a Signature Version 4 of the upgrade request, in its headers or in its query. Other
 * requests are answered with 403.
 *
 * Source: AWS developer guide, "Control access to WebSocket APIs with IAM authorization".
 */
export interface IamAuthorization {
  readonly type: "AWS_IAM";
}

/** The compiled checks of `$connect` before its integration is called. */
export interface ConnectChecks {
  readonly authorization: DeployedAuthorization | undefined;
  /** The source of the API key, or undefined if none is required. */
  readonly apiKey: ApiKeySelectionExpression | undefined;
}

type DeployedAuthorization =
  | DeployedAuthorizer
  | { readonly type: "AWS_IAM"; readonly credentials: SigningCredentials };

/** The options of a route that restrict connects. */
interface RestrictedRoute {
  readonly authorization?: LocalAuthorization;
  readonly apiKeyRequired?: boolean;
}

/**
 * Compiles the checks of `$connect`.
 *
 * @throws ConfigurationError for options that AWS would reject, and for AWS_IAM without credentials
 */
export function compileConnectChecks(
  where: string,
  routes: Readonly<Record<string, RestrictedRoute>>,
  expression: ApiKeySelectionExpression = "$request.header.x-api-key",
  credentials: SigningCredentials | undefined,
): ConnectChecks {
  for (const [key, route] of Object.entries(routes)) {
    const option = route.authorization
      ? "authorization"
      : route.apiKeyRequired
        ? "apiKeyRequired"
        : undefined;
    if (option && key !== "$connect")
      throw new ConfigurationError(
        `${where}: routes["${key}"]: ${option} is allowed on $connect only, as at AWS. Remove it.`,
      );
  }
  if (!API_KEY_SELECTION_EXPRESSIONS.includes(expression)) {
    throw new ConfigurationError(
      `${where}: apiKeySelectionExpression must be "${API_KEY_SELECTION_EXPRESSIONS.join('" or "')}", but received "${expression}".`,
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
      `${where}: ${expression} reads the result of an authorizer, but $connect has none. Write: authorization: { type: "CUSTOM", handler }.`,
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
    throw new ConfigurationError(`${where}: the type of an authorization must be "CUSTOM" or "AWS_IAM".`);
  checkShape(`${where}: authorization`, authorization, { type: "text" } satisfies Shape<IamAuthorization>);
  if (credentials) return { type: "AWS_IAM", credentials };
  throw new ConfigurationError(
    `${where}: AWS_IAM requires the credentials of the signer. Write: credentials: { accessKeyId, secretAccessKey }.`,
  );
}
