import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../commands.ts";
import { importFrom, type Untyped } from "../installed-beside.ts";

/** A container image that was built without Docker: the folder of its last stage and its command. */
export interface Image {
  readonly workdir: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly port: string;
  /** The URLs that `ADD` would download. */
  readonly downloads: readonly string[];
}

interface Stage {
  readonly root: string;
  workdir: string;
  readonly env: Record<string, string>;
  command: readonly string[];
  user: string;
  port: string;
}

/**
 * Executes a Dockerfile with a folder for each stage. Every base image is this machine, so commands
 * run with the Node.js of the test.
 *
 * @param packages the folder with `dockerfile-ast`
 * @param context the build context
 * @throws Error for an instruction that this function does not know
 */
export async function buildImage(
  packages: string,
  dockerfile: string,
  context: string,
  folder: string,
): Promise<Image> {
  const { DockerfileParser } = await importFrom(packages, "dockerfile-ast");
  const stages = new Map<string, Stage>();
  const downloads: string[] = [];
  let stage: Stage | undefined;
  for (const instruction of DockerfileParser.parse(dockerfile).getInstructions() as Untyped[]) {
    const keyword: string = instruction.getKeyword();
    const args: string[] = instruction.getArguments().map((each: Untyped) => each.getValue());
    if (keyword === "FROM") {
      const name = args[2] ?? `stage${stages.size}`;
      stage = { root: join(folder, name), workdir: "/", env: {}, command: [], user: "root", port: "" };
      stages.set(name, stage);
      continue;
    }
    if (!stage) throw new Error(`${keyword} is in front of FROM.`);
    const at = (path: string) =>
      join((stage as Stage).root, path.startsWith("/") ? path : join((stage as Stage).workdir, path));
    if (keyword === "WORKDIR") {
      stage.workdir = args[0] ?? "/";
      await mkdir(at("."), { recursive: true });
    } else if (keyword === "ENV") {
      for (const property of instruction.getProperties()) stage.env[property.getName()] = property.getValue();
    } else if (keyword === "RUN") {
      await run(["sh", "-c", args.join(" ")], { cwd: at("."), env: stage.env });
    } else if (keyword === "COPY") {
      const [flag] = instruction.getFlags() as Untyped[];
      const from = flag && stages.get(flag.getValue());
      const target = args.at(-1) ?? "";
      for (const source of args.slice(0, -1)) {
        const name = source.split("/").at(-1) ?? "";
        const to = target.endsWith("/") ? join(at(target), name) : at(target);
        await cp(from ? join(from.root, source) : join(context, source), to, {
          recursive: true,
          verbatimSymlinks: true,
        });
      }
    } else if (keyword === "ADD") downloads.push(args[0] ?? "");
    else if (keyword === "CMD") stage.command = args.map((arg) => arg.replace(/^[["]+|[\],"]+$/g, ""));
    else if (keyword === "USER") stage.user = args[0] ?? "";
    else if (keyword === "EXPOSE") stage.port = args[0] ?? "";
    else throw new Error(`The instruction ${keyword} is not known.`);
  }
  if (!stage) throw new Error("The Dockerfile has no FROM.");
  const { root, workdir, ...rest } = stage;
  return { ...rest, workdir: join(root, workdir), downloads };
}
