import { createSallyport } from "sallyport";
import { ChatView } from "./chat-view.ts";
import { storage } from "./database.ts";
import { currentUser } from "./login.ts";
import { chat } from "./permissions.ts";

export const sallyport = createSallyport({
  storage,
  permissions: [chat],
  views: { "/ws/chat": ChatView },
  authenticate: currentUser,
  origins: (process.env.ORIGINS ?? "https://www.example.com").split(","),
  // Works with the domain of API Gateway, to which browsers send no cookies.
  token: { path: "/api/ws-token", binding: "token" },
  healthPath: "/healthz",
});
