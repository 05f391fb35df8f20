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
import type { HttpCall } from "../../build/protocol/http-call.js";
import { ChangedSubjects } from "../../build/revocation/changed-subjects.js";
import type { EventServices } from "../../build/services.js";
import type { Subject } from "../../build/storage/stores/users.js";
import { Channels } from "../../build/views/channels.js";
import { mountViews } from "../../build/views/mount.js";
import { type Figure, figure, timed } from "./figures.js";

const chat = definePermissions("chat", {
  use: "Use",
  moderate: "Moderate",
  broadcast: "Broadcast",
  invite: "Invite",
});
const catalog = new PermissionCatalog([chat]);
const isKnown = (permission: string) => catalog.find(permission) !== undefined;
const grant = (permission: string) => ({ permission, group: "Crew", until: null });
const HELD = [chat.invite, chat.broadcast, chat.moderate, chat.use];
const subject = (userId: string): Subject => ({
  userId,
  isActive: true,
  isSuperuser: false,
  permissions: HELD,
  grants: HELD.map(grant),
});

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use, chat.moderate];
  static allPermissionsRequired = [chat.broadcast, chat.invite];
  say = handler({ allPermissionsRequired: [chat.moderate] }, () => ({ ok: true }));
}

/** What judging costs, with everything already in memory. */
export async function checks(): Promise<readonly Figure[]> {
  const [anyAll] = [...mountViews({ "/ws/chat": ChatView }, catalog, new Channels([], catalog)).values()].map(
    ({ rule }) => rule,
  );
  const user = subject("u1");
  const one = await timed(() => evaluateRule(anyAll as Rule, user), { runs: 2_000_000 });
  return [
    figure("any + all check, warm", "ns", one, 150),
    figure(
      "whole gate of a message, without HTTP and SQL",
      "µs",
      (await wholeGate()).map(inMicroseconds),
      25,
    ),
    figure("checks of 10 000 recipients", "ms", (await recipients()).map(inMilliseconds), 1),
  ];
}

const inMicroseconds = (ns: number) => ns / 1000;
const inMilliseconds = (ns: number) => ns / 1_000_000;

/** View's rule, channel's rule and the send's own, for ten thousand users. */
function recipients(): Promise<number[]> {
  const rules = [
    compileRule("view", [{ permissionsRequired: [chat.use, chat.moderate] }], isKnown),
    compileRule("channel", [{ allPermissionsRequired: [chat.use] }], isKnown),
    compileRule("send", [{ permissionsRequired: [chat.broadcast] }], isKnown),
  ];
  // As pages of sessions bring them along: 500 at a time, each page with twenty different lists of rights.
  const pages = Array.from({ length: 20 }, (_, page) => {
    const lists = Array.from({ length: 20 }, () => [...HELD]);
    return Array.from({ length: 500 }, (_, index) => {
      const permissions = lists[index % lists.length] ?? HELD;
      return { ...subject(`u${page * 500 + index}`), permissions };
    });
  });
  return timed(
    () => {
      let permitted = 0;
      for (const page of pages) {
        const evaluateRule = new PageEvaluator(rules);
        for (const who of page) if (evaluateRule.isAllowed(who)) permitted++;
      }
      return permitted;
    },
    { runs: 100 },
  );
}

/** High enough to be counted and never reached. */
const LIMITS = { messagesPerConnection: Number.MAX_SAFE_INTEGER, messagesPerUser: Number.MAX_SAFE_INTEGER };

/** The real story of a message, from the decoded call to the encoded answer, over a session that is at hand. */
function wholeGate(): Promise<number[]> {
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
  const session = {
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
  if (!view) throw new Error("not mounted");
  const limits = parseOptions("limits", limitsSchema, LIMITS);
  const channels = [defineChannel("rooms/:slug", { permissionsRequired: [chat.use] })];
  const services = {
    auth: { gatewayAuthenticator: new GatewayAuthenticator(gateways as never, "secret") },
    changedSubjects: new ChangedSubjects(),
    definitions: { channels: new Channels(channels, catalog), permissions: catalog, views },
    // Collects, and writes nothing.
    connections: { activity: new Activity({} as never, () => undefined) },
    limits: {
      messageLimits: new MessageLimits(new LimitSettings(limits, views)),
      messagesInFlight: new MessagesInFlight(limits),
    },
    reports: { decisionLog: { isSampled: () => false } },
    store: { connections: { find: async () => session } },
  } as unknown as EventServices;
  const frame = new TextEncoder().encode('{"handler":"say","id":1,"message":"hello"}');
  const headers: Record<string, string> = {
    connectionId: "AAAAAAAAAAAAAAA=",
    "x-sallyport-secret": secret,
    "x-sallyport-stage": "dev",
  };
  const http = { header: (name: string) => headers[name], body: async () => frame } as unknown as HttpCall;
  return timed(
    async () => {
      const decision = createDecisionContext("message", "/ws/chat/default");
      const call = decodeGatewayCall("message", http) as MessageCall;
      return handleMessage(services, { view, http, call, decision });
    },
    { runs: 50_000 },
  );
}
