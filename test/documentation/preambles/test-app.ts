import assert from "node:assert/strict";
import { createTestApp } from "sallyport/testing";
import type { ChatView } from "../src/chat-view.ts";
import { chat } from "../src/permissions.ts";
import { sallyport } from "../src/sallyport.ts";

const app = await createTestApp(sallyport);
// the sample
