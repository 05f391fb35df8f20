/** `npm run docs:cli`: writes the command reference in docs/reference/ from the commands. */
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { cliCommandsPage, cliPage } from "./cli-reference.ts";

const reference = resolve(import.meta.dirname, "../../docs/reference");
const page = join(reference, "cli.md");
writeFileSync(page, cliPage(readFileSync(page, "utf8")));
writeFileSync(join(reference, "cli-commands.md"), cliCommandsPage());
