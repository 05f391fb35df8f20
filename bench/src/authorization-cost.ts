import { createDecisionContext } from "../../build/audit/decision.js";
import { GatewayAuthenticator } from "../../build/auth/gateway-auth.js";
import { hashSecret } from "../../build/auth/gateways.js";
import { LimitSettings, limitsSchema } from "../../build/auth/limits.js";
import { MessageLimits, MessagesInFlight } from "../../build/auth/message-limits.js";
import { Activity } from "../../build/connections/activity.js";
import { handleMessage } from "../../build/events/message.js";
import { defineChannel, definePermissions, handler, WebSocketView } from "../../build/index.js";
import { parseOptions } from "../../build/options.js";
import { PermissionCatalog } from "../../build/permissions/define.js";
import { compileRule, evaluateRule, PageEvaluator, type Rule } from "../../build/permissions/rules.js";
import { decodeGatewayCall, type MessageCall } from "../../build/protocol/gateway-call.js";
import type { HttpRequest } from "../../build/protocol/http.js";
import { ChangedSubjects } from "../../build/revocation/changed-subjects.js";
import type { EventServices } from "../../build/services.js";
import type { Subject } from "../../build/storage/stores/users.js";
import { Channels } from "../../build/views/channels.js";
import { mountViews } from "../../build/views/mount.js";
import { type Figure, figure, measureNs } from "./figures.js";

const chat = definePermissions("chat", {
  use: "Use",
  moderate: "Moderate",
  broadcast: "Broadcast",
  invite: "Invite",
});
const catalog = new PermissionCatalog([chat]);
const isKnown = (permission: string) => catalog.find(permission) !== undefined;
const grant = (permission: string) => ({ permission, group: "Members", until: null });
const PERMISSIONS = [chat.invite, chat.broadcast, chat.moderate, chat.use];
const subject = (userId: string): Subject => ({
  userId,
  isActive: true,
  isSuperuser: false,
  permissions: PERMISSIONS,
  grants: PERMISSIONS.map(grant),
});

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use, chat.moderate];
  static allPermissionsRequired = [chat.broadcast, chat.invite];
  say = handler({ allPermissionsRequired: [chat.moderate] }, () => ({ ok: true }));
}

/** Measures the cost of permission checks, with all data in memory. */
export async function authorizationCost(): Promise<readonly Figure[]> {
  const [anyAll] = [...mountViews({ "/ws/chat": ChatView }, catalog, new Channels([], catalog)).values()].map(
    ({ rule }) => rule,
  );
  const user = subject("u1");
  const evaluation = await measureNs(() => evaluateRule(anyAll as Rule, user), { runs: 2_000_000 });
  return [
    figure("rule with any and all permissions, after a warm-up", "ns", evaluation, 150),
    figure(
      "authorization of a message, without HTTP and SQL",
      "µs",
      (await messageHandling()).map(inMicroseconds),
      25,
    ),
    figure("checks of 10 000 recipients", "ms", (await recipientChecks()).map(inMilliseconds), 1),
  ];
}

const inMicroseconds = (ns: number) => ns / 1000;
const inMilliseconds = (ns: number) => ns / 1_000_000;

/**
 * Evaluates the rules of the view, the channel and the send for 10 000 users. Returns nanoseconds.
 */
function recipientChecks(): Promise<number[]> {
  const rules = [
    compileRule("view", [{ permissionsRequired: [chat.use, chat.moderate] }], isKnown),
    compileRule("channel", [{ allPermissionsRequired: [chat.use] }], isKnown),
    compileRule("send", [{ permissionsRequired: [chat.broadcast] }], isKnown),
  ];
  // A page has 500 connections and 20 different lists of permissions, as pages from the database
  // do.
  const pages = Array.from({ length: 20 }, (_, page) => {
    const lists = Array.from({ length: 20 }, () => [...PERMISSIONS]);
    return Array.from({ length: 500 }, (_, index) => {
      const permissions = lists[index % lists.length] ?? PERMISSIONS;
      return { ...subject(`u${page * 500 + index}`), permissions };
    });
  });
  return measureNs(
    () => {
      let permitted = 0;
      for (const page of pages) {
        const evaluateRule = new PageEvaluator(rules);
        for (const user of page) if (evaluateRule.isAllowed(user)) permitted++;
      }
      return permitted;
    },
    { runs: 100 },
  );
}

/** Limits that are counted and never reached. */
const LIMITS = { messagesPerConnection: Number.MAX_SAFE_INTEGER, messagesPerUser: Number.MAX_SAFE_INTEGER };

/**
 * Handles a message, from the decoded call to the encoded response, with a connection from memory.
 * Returns nanoseconds.
 */
function messageHandling(): Promise<number[]> {
  const secret = "s".repeat(64);
  const gateway = {
    id: "g",
    name: "bench",
    apiId: null,
    stage: "dev",
    endpoint: "https://x",
    secretHashes: [hashSecret(secret)],
    replies: "route",
  };
  const connection = {
    ...subject("u1"),
    id: "s1",
    gatewayId: "g",
    connectionId: "AAAAAAAAAAAAAAA=",
    view: "/ws/chat",
    sessionId: null,
    connectedAt: 0,
    ageMs: 1,
    channels: ["rooms/general"],
  };
  const gateways = { list: async () => [gateway], listAnew: async () => [gateway] };
  const views = mountViews({ "/ws/chat": ChatView }, catalog, new Channels([], catalog));
  const view = views.get("/ws/chat");
  if (!view) throw new Error("The view /ws/chat is not mounted.");
  const limits = parseOptions("limits", limitsSchema, LIMITS);
  const channels = [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })];
  const services = {
    auth: { gatewayAuthenticator: new GatewayAuthenticator(gateways as never, "secret") },
    changedSubjects: new ChangedSubjects(),
    definitions: { channels: new Channels(channels, catalog), permissions: catalog, views },
    // Collects activity and does not write it.
    connections: { activity: new Activity({} as never, () => undefined) },
    limits: {
      messageLimits: new MessageLimits(new LimitSettings(limits, views)),
      messagesInFlight: new MessagesInFlight(limits),
    },
    reports: { decisionLog: { isSampled: () => false } },
    store: { connections: { find: async () => connection } },
  } as unknown as EventServices;
  const frame = new TextEncoder().encode('{"handler":"say","id":1,"message":"hello"}');
  const headers: Record<string, string> = {
    connectionId: "AAAAAAAAAAAAAAA=",
    "x-sallyport-secret": secret,
    "x-sallyport-stage": "dev",
  };
  const http = { header: (name: string) => headers[name], body: async () => frame } as unknown as HttpRequest;
  return measureNs(
    async () => {
      const decision = createDecisionContext("message", "/ws/chat/default");
      const call = decodeGatewayCall("message", http) as MessageCall;
      return handleMessage(services, { view, http, call, decision });
    },
    { runs: 50_000 },
  );
}
