import { connect } from "sallyport/client";
import type { ChatView } from "./chat-view.ts";

declare const url: string;
declare const urls: Record<"/ws/chat" | "/ws/news", string>;
// the sample
