import { createSallyport, type Sallyport } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";
import { ChatView, chat, reports, rooms } from "./chat.ts";

// A reload in development creates a new object. The previous one pauses until its next call.
const kept = globalThis as { sallyport?: Sallyport };
void kept.sallyport?.flush();

export const sallyport = createSallyport({
  storage: sqlite(process.env.DATABASE_PATH ?? "app.db"),
  permissions: [chat],
  channels: [rooms],
  views: { "/ws/chat": ChatView },
  origins: ["https://www.example.com"],
  authenticate: ({ headers }) => {
    const [, userId, sessionId] = /(?:^|;\s*)login=([^:;]+):([^;]+)/.exec(headers.get("cookie") ?? "") ?? [];
    return userId && sessionId ? { userId, sessionId } : null;
  },
  decisionLog: { sampleAllowed: 0 },
  onDecision: (decision) => reports.publish({ decision }),
  onError: (error) => reports.publish({ error }),
});
kept.sallyport = sallyport;
