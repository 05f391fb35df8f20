import { userInfo } from "node:os";
import type { Command } from "commander";
import { withApp } from "./app.ts";
import { describeUser, findUser } from "./people.ts";
import type { Terminal } from "./terminal.ts";

/** `users grant | revoke | show`. */
export function addUsers(program: Command, terminal: Terminal): void {
  const users = program.command("users").description("Give, take and show users' rights");

  users
    .command("grant")
    .description("Give a user a permission")
    .argument("<user>", "as your app knows people, such as an e-mail address")
    .argument("<permission>", "such as chat.can_use_chat")
    .option("--reason <text>", "why, for the record")
    .action((user: string, permission: string, options: { reason?: string }) =>
      withApp(terminal.app(), async (sallyport) => {
        const parsed = sallyport.permissions.parse(permission);
        const id = await findUser(sallyport, user);
        await sallyport.access.grant(id, parsed, { by: actor(), ...options });
        terminal.print(`${await describeUser(sallyport, id)} now has ${parsed}.`);
      }),
    );

  users
    .command("revoke")
    .description("Take a permission from a user; sockets that rested on it end at once")
    .argument("<user>", "as your app knows people, such as an e-mail address")
    .argument("<permission>", "such as chat.can_use_chat")
    .action((user: string, permission: string) =>
      withApp(terminal.app(), async (sallyport) => {
        const parsed = sallyport.permissions.parse(permission);
        const id = await findUser(sallyport, user);
        const had = await sallyport.access.revoke(id, parsed);
        const label = await describeUser(sallyport, id);
        terminal.print(
          had ? `${label} no longer has ${parsed} directly.` : `${label} did not have ${parsed} directly.`,
        );
        const rights = await sallyport.access.show(id);
        if (rights?.isSuperuser) terminal.print("As a superuser, this user still has every permission.");
        for (const { permission: held, via } of rights?.grants ?? []) {
          if (held === parsed && via !== "direct")
            terminal.print(`It is still held through the group "${via.group}".`);
        }
      }),
    );

  users
    .command("show")
    .description("Show a user's groups and rights, and where each comes from")
    .argument("<user>", "as your app knows people, such as an e-mail address")
    .option("--json", "as JSON")
    .action((user: string, options: { json?: boolean }) =>
      withApp(terminal.app(), async (sallyport) => {
        const id = await findUser(sallyport, user);
        const rights = (await sallyport.access.show(id)) ?? {
          id,
          isActive: true,
          isSuperuser: false,
          groups: [],
          grants: [],
        };
        if (options.json)
          terminal.print(
            JSON.stringify({ label: (await sallyport.users.describe?.([id]))?.[id], ...rights }),
          );
        else {
          const state = [
            rights.isActive ? "active" : "inactive",
            ...(rights.isSuperuser ? ["superuser"] : []),
          ];
          terminal.print(`${await describeUser(sallyport, id)}: ${state.join(", ")}`);
          terminal.print(`groups: ${rights.groups.join(", ") || "none"}`);
          for (const { permission, via, until } of rights.grants) {
            const source = via === "direct" ? "direct" : `group "${via.group}"`;
            terminal.print(
              `  ${permission}  ${source}${until === null ? "" : `, until ${new Date(until).toISOString()}`}`,
            );
          }
          if (rights.grants.length === 0)
            terminal.print(rights.isSuperuser ? "  every permission" : "  no permissions");
        }
      }),
    );
}

/** Who is to be remembered for a change made from a terminal. */
function actor(): string {
  return `cli:${userInfo().username}`;
}
