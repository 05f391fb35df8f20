/**
 * The sources from which API Gateway can read the API key of a client.
 *
 * Source: AWS developer guide, "Selection expressions for WebSocket APIs".
 */
export const API_KEY_SELECTION_EXPRESSIONS = [
  "$request.header.x-api-key",
  "$context.authorizer.usageIdentifierKey",
] as const;

/** One of {@link API_KEY_SELECTION_EXPRESSIONS}. */
export type ApiKeySelectionExpression = (typeof API_KEY_SELECTION_EXPRESSIONS)[number];
