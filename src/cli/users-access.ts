import type { Command } from "commander";
import type { UserAccess } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";
import { USER } from "./arguments.ts";
import { findUser, namesOf, stateOf, unknownUserLines } from "./find-user.ts";
import { type Report, reporting } from "./report.ts";
import { first } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** Adds `users access`, which lists what a user can access by the rules now. */
export function addUserAccess(users: Command, terminal: Terminal): void {
  const command = users
    .command("access")
    .description("List views, handlers and channels, and whether a user can access them now")
    .argument(...USER);
  reporting(command, terminal, (sallyport, _options, [user = ""]) => userAccess(sallyport, user));
}

async function userAccess(sallyport: Sallyport, text: string): Promise<Report> {
  const user = await findUser(sallyport, text);
  const access = await sallyport.access.users.access(user);
  const names = await namesOf(sallyport, [user]);
  const lines = [
    `${names.name(user)}: ${stateOf(access)}`,
    `permissions: ${access.permissions.join(", ") || "none"}`,
    ...first([...viewLines(access), ...channelLines(access)]),
    ...(await unknownUserLines(sallyport, user)),
  ];
  return { json: { label: names.label(user), ...access }, lines };
}

function viewLines({ views }: UserAccess): readonly string[] {
  return views.flatMap(({ path, name, allowed, handlers }) => [
    `${mark(allowed)} ${path} (${name})`,
    ...handlers.map((handler) => `    ${mark(handler.allowed)} ${handler.name}${authorizeNote(handler)}`),
  ]);
}

function channelLines({ channels }: UserAccess): readonly string[] {
  return channels.map(
    (channel) =>
      `${mark(channel.allowed)} channel ${channel.pattern}${sending(channel)}${authorizeNote(channel)}`,
  );
}

function sending({ allowed, maySend }: UserAccess["channels"][number]): string {
  return allowed && !maySend ? ", without sending" : "";
}

function authorizeNote({
  allowed,
  hasAuthorize,
}: {
  readonly allowed: boolean;
  readonly hasAuthorize: boolean;
}): string {
  return allowed && hasAuthorize ? ", if its authorize allows access" : "";
}

function mark(allowed: boolean): string {
  return allowed ? "✔" : "✘";
}
