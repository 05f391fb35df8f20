import { readdir, readFile } from "node:fs/promises";

/** Clock ticks per second, in which Linux counts the time of a process. */
const TICKS_PER_SECOND = 100;

/**
 * Returns the processor time that a PostgreSQL server has used so far, all its processes included, in milliseconds. Linux only.
 *
 * @param url connection string, by whose port the server is found
 * @returns NaN if the server does not run on this machine
 */
export async function serverCpuMs(url: string): Promise<number> {
  const { port } = new URL(url);
  const processes = await Promise.all(
    (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name)).map(readProcess),
  );
  const server = processes.find((one) => one?.command.includes(`\0-p\0${port}\0`));
  if (!server) return Number.NaN;
  const ticks = processes
    .filter((one) => one?.parent === server.pid)
    .reduce((sum, one) => sum + (one?.ticks ?? 0), server.ticks + server.ticksOfEnded);
  return (ticks / TICKS_PER_SECOND) * 1000;
}

async function readProcess(pid: string) {
  try {
    const [stat, command] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile(`/proc/${pid}/cmdline`, "utf8"),
    ]);
    // Fields after the name, which stands in parentheses and may contain spaces. Source: proc(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const number = (index: number) => Number(fields[index]);
    return {
      pid,
      command,
      parent: fields[1],
      ticks: number(11) + number(12),
      ticksOfEnded: number(13) + number(14),
    };
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}
