import type { Command } from "commander";
import type { UserAccess } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { USER } from "./arguments.ts";
import { findUser, namesOf } from "./find-user.ts";
import { type Report, reporting } from "./report.ts";
import { first } from "./table.ts";
import type { Terminal } from "./terminal.ts";
import { stateOf } from "./users.ts";

/** `what-can`: everything that a user can reach by rules now. */
export function addWhatCan(program: Command, terminal: Terminal): void {
  const command = program
    .command("what-can")
    .description("List views, handlers and channels, and which of them a user can reach now")
    .argument(...USER);
  reporting(command, terminal, (sallyport, _options, [user = ""]) => whatCan(sallyport, user));
}

async function whatCan(sallyport: Sallyport, text: string): Promise<Report> {
  const user = await findUser(sallyport, text);
  const reach = await sallyport.access.whatCan(user);
  const names = await namesOf(sallyport, [user]);
  const lines = [
    `${names.name(user)}: ${stateOf(reach)}`,
    `permissions: ${reach.permissions.join(", ") || "none"}`,
    ...first([...viewLines(reach), ...channelLines(reach)]),
  ];
  return { json: { label: names.label(user), ...reach }, lines };
}

function viewLines({ views }: UserAccess): readonly string[] {
  return views.flatMap(({ path, name, allowed, handlers }) => [
    `${mark(allowed)} ${path} (${name})`,
    ...handlers.map((handler) => `    ${mark(handler.allowed)} ${handler.name}${lastWord(handler)}`),
  ]);
}

function channelLines({ channels }: UserAccess): readonly string[] {
  return channels.map(
    (channel) => `${mark(channel.allowed)} channel ${channel.pattern}${sending(channel)}${lastWord(channel)}`,
  );
}

function sending({ allowed, maySend }: UserAccess["channels"][number]): string {
  return allowed && !maySend ? ", without sending" : "";
}

function lastWord({ allowed, asksData }: { readonly allowed: boolean; readonly asksData: boolean }): string {
  return allowed && asksData ? ", if its authorize says yes" : "";
}

function mark(allowed: boolean): string {
  return allowed ? "✔" : "✘";
}
