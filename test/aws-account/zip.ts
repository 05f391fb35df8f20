import { crc32, deflateRawSync } from "node:zlib";

/** A file of an archive. */
export interface ZipEntry {
  /** Path with `/`, relative to the root of the archive. */
  readonly path: string;
  readonly data: Buffer;
}

/** 1 January 1980, the first date of the format, so that equal files give equal archives. */
const DATE = 0x0021;
/** Regular file that everyone can read. Lambda runs the function as another user. */
const MODE = 0o100644;
const DEFLATE = 8;

/** Returns a ZIP archive. Source: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification". */
export function zip(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { path, data } of entries) {
    const name = Buffer.from(path);
    const compressed = deflateRawSync(data);
    const sizes = { crc: crc32(data), compressed: compressed.length, size: data.length, name: name.length };
    const local = localHeader(sizes);
    directory.push(centralHeader(sizes, offset), name);
    parts.push(local, name, compressed);
    offset += local.length + name.length + compressed.length;
  }
  const directoryLength = directory.reduce((sum, { length }) => sum + length, 0);
  return Buffer.concat([...parts, ...directory, endRecord(entries.length, directoryLength, offset)]);
}

interface Sizes {
  readonly crc: number;
  readonly compressed: number;
  readonly size: number;
  /** Length of the path in bytes. */
  readonly name: number;
}

function localHeader({ crc, compressed, size, name }: Sizes): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(20, 4);
  header.writeUInt16LE(DEFLATE, 8);
  header.writeUInt16LE(DATE, 12);
  header.writeUInt32LE(crc, 14);
  header.writeUInt32LE(compressed, 18);
  header.writeUInt32LE(size, 22);
  header.writeUInt16LE(name, 26);
  return header;
}

function centralHeader({ crc, compressed, size, name }: Sizes, offset: number): Buffer {
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  // Made by version 2.0 of the format on Unix, so that the mode is used.
  header.writeUInt16LE((3 << 8) | 20, 4);
  header.writeUInt16LE(20, 6);
  header.writeUInt16LE(DEFLATE, 10);
  header.writeUInt16LE(DATE, 14);
  header.writeUInt32LE(crc, 16);
  header.writeUInt32LE(compressed, 20);
  header.writeUInt32LE(size, 24);
  header.writeUInt16LE(name, 28);
  header.writeUInt32LE(MODE * 0x10000, 38);
  header.writeUInt32LE(offset, 42);
  return header;
}

function endRecord(count: number, directoryLength: number, offset: number): Buffer {
  const record = Buffer.alloc(22);
  record.writeUInt32LE(0x06054b50, 0);
  record.writeUInt16LE(count, 8);
  record.writeUInt16LE(count, 10);
  record.writeUInt32LE(directoryLength, 12);
  record.writeUInt32LE(offset, 16);
  return record;
}
