import type { Command } from "commander";

/** The examples in the help of each command, without `npx sallyport`. */
const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  init: ["init my-app", "init my-app --template minimal --yes", "init --dry-run"],
  dev: [
    "dev -- tsx src/server.ts",
    "dev --port 8000 -- next dev",
    "dev --embedded-postgres -- tsx src/server.ts",
    "dev --lambda src/lambda.ts",
  ],
  doctor: ["doctor --page http://localhost:3000", "doctor --production --page https://www.example.com"],
  migrate: ["migrate", 'migrate --reason "release 12"'],
  "users list": ["users list", "users list --permission chat.use --json", "users list --state inactive"],
  "users grant": [
    "users grant ann@example.com chat.use",
    'users grant ann@example.com chat.use --until 7d --reason "trial"',
  ],
  "users revoke": [
    "users revoke ann@example.com chat.use",
    "users revoke ann@example.com chat.use --dry-run",
  ],
  "users activate": ["users activate ann@example.com"],
  "users deactivate": ['users deactivate ann@example.com --reason "left the company"'],
  "users superuser": ["users superuser ann@example.com on", "users superuser ann@example.com off"],
  "users delete": ["users delete ann@example.com --dry-run", "users delete ann@example.com"],
  "users show": ["users show ann@example.com"],
  "users access": ["users access ann@example.com"],
  "groups list": ["groups list"],
  "groups create": ["groups create Moderators"],
  "groups delete": ["groups delete Moderators --dry-run", "groups delete Moderators"],
  "groups grant": ["groups grant Moderators chat.moderate"],
  "groups revoke": ["groups revoke Moderators chat.moderate --dry-run"],
  "groups add": ["groups add Moderators ann@example.com --until 4w"],
  "groups remove": ["groups remove Moderators ann@example.com"],
  "permissions list": ["permissions list --json"],
  "permissions sync": ["permissions sync --dry-run", "permissions sync"],
  "permissions prune": ["permissions prune --dry-run", "permissions prune chat.old"],
  "permissions diff": ["permissions diff"],
  "permissions who": ["permissions who chat.use"],
  why: ["why 3f0a9c1b2d4e", "why --user ann@example.com --view /ws/chat --handler send_message"],
  audit: ["audit --since 7d", "audit --user ann@example.com --json"],
  decisions: ["decisions --verdict denied --since 1h", "decisions --user ann@example.com --follow"],
  "connections list": ["connections list", "connections list --user ann@example.com"],
  "connections close": ["connections close --user ann@example.com --dry-run", "connections close 42"],
  "limits list": ["limits list --user ann@example.com"],
  "limits clear": ["limits clear --address 192.0.2.1", "limits clear --all"],
  cleanup: ["cleanup", "cleanup --every 1h --audit 365d"],
  "gateway plan": ["gateway plan", "gateway plan chat"],
  "gateway apply": ['gateway apply --reason "release 12"'],
  "gateway destroy": ["gateway destroy chat --yes"],
  "gateway release": ["gateway release chat --yes"],
  "gateway import": ["gateway import chat a1b2c3d4e5"],
  "gateway status": ["gateway status"],
  "gateway rotate-secret": ["gateway rotate-secret chat"],
  "gateway policy": ["gateway policy --account 123456789012"],
  "gateway export": ["gateway export > template.json", "gateway export chat --format cloudformation"],
  "import-django": [
    "import-django --database db.sqlite3",
    "import-django --database postgres://reader@localhost/shop --user-table accounts_user --apply",
  ],
  completion: ["completion bash >> ~/.bashrc", "completion fish > ~/.config/fish/completions/sallyport.fish"],
  local: ["local --target http://127.0.0.1:8000/ws/chat/"],
};

/** Adds its examples to the help of each command. */
export function addExamples(program: Command): void {
  for (const [path, command] of commandsOf(program)) {
    const lines = (EXAMPLES[path] ?? []).map((example) => `  npx sallyport ${example}`);
    if (lines.length > 0) command.addHelpText("after", `\nExamples:\n${lines.join("\n")}`);
  }
}

/** Returns the examples of a command by its path, such as "users grant". */
export function examplesOf(path: string): readonly string[] {
  return EXAMPLES[path] ?? [];
}

/** Returns the commands that can be run, with their paths. */
export function commandsOf(command: Command, path = ""): readonly (readonly [string, Command])[] {
  return command.commands.flatMap((child) => {
    const name = path === "" ? child.name() : `${path} ${child.name()}`;
    return child.commands.length === 0 ? [[name, child] as const] : commandsOf(child, name);
  });
}
