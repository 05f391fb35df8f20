/** Where API Gateway takes a client's API key from. Source: AWS developer guide, "Selection expressions for WebSocket APIs". */
export const API_KEY_SELECTION_EXPRESSIONS = [
  "$request.header.x-api-key",
  "$context.authorizer.usageIdentifierKey",
] as const;

export type ApiKeySelectionExpression = (typeof API_KEY_SELECTION_EXPRESSIONS)[number];
