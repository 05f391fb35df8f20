import { readdir, readFile } from "node:fs/promises";

/** Clock ticks per second in /proc on Linux. */
const TICKS_PER_SECOND = 100;

/**
 * Returns the processor time of a PostgreSQL server and its child processes since their start, in
 * milliseconds. Works on Linux only.
 *
 * @param url connection string with the port of the server
 * @returns NaN if the server does not run on this machine
 */
export async function serverCpuMs(url: string): Promise<number> {
  const { port } = new URL(url);
  const processes = await Promise.all(
    (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name)).map(readProcess),
  );
  const server = processes.find((process) => process?.command.includes(`\0-p\0${port}\0`));
  if (!server) return Number.NaN;
  const ticks = processes
    .filter((process) => process?.parent === server.pid)
    .reduce((sum, process) => sum + (process?.ticks ?? 0), server.ticks + server.childTicks);
  return (ticks / TICKS_PER_SECOND) * 1000;
}

async function readProcess(pid: string) {
  try {
    const [stat, command] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile(`/proc/${pid}/cmdline`, "utf8"),
    ]);
    // The name is in parentheses and may contain spaces, so fields are read after it. Source:
    // proc(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const number = (index: number) => Number(fields[index]);
    return {
      pid,
      command,
      parent: fields[1],
      ticks: number(11) + number(12),
      childTicks: number(13) + number(14),
    };
  } catch {
    // The process has exited.
    return undefined;
  }
}
