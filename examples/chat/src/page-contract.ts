/**
 * What the server and the page share. The page imports this file, so it must not import modules of
 * the server.
 */

/** The path of the view in WebSocket URLs and tokens. */
export const VIEW = "/ws/chat";

/** The password of every account of the demo. */
export const DEMO_PASSWORD = "sallyport-demo";

/** The permissions as the page shows them, in the order of the switches. */
export const PERMISSION_LABELS = {
  "chat.can_use_chat": "Use chat",
  "chat.can_moderate_chat": "Moderate chat",
} as const;

/** The rooms of the first start. */
export const ROOMS = [
  { slug: "general", title: "General", note: null, is_open: 1 },
  { slug: "random", title: "Random", note: null, is_open: 1 },
  { slug: "moderators", title: "Moderators", note: "For moderators", is_open: 1 },
  { slug: "book-club", title: "Book club", note: "Members only", is_open: 0 },
] as const;

/** The response of `GET /api/config`. */
export interface PageConfig {
  /** The WebSocket URL that the page connects to. */
  readonly gatewayUrl: string;
  /** The page of the gateway, which shows its connections and events. */
  readonly inspectorUrl: string;
  /** The environment variables that `npx sallyport` needs to find the database, or an empty text. */
  readonly commandPrefix: string;
}
