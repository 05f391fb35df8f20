/**
 * Parses the frame headers in the bytes of a client, to find the first data frame over a limit.
 *
 * `ws` limits the size of messages, and API Gateway limits each frame too. A header can be split
 * between chunks. Payloads are skipped and not stored.
 *
 * Source of the layout: RFC 6455, section 5.2.
 */
export class FrameMeter {
  readonly #maxFrameBytes: number;
  readonly #header = Buffer.alloc(14);
  #headerBytes = 0;
  #payloadLeft = 0;
  #messages = 0;
  /** The number of frames of the current message. */
  #frames = 0;
  /** The number of frames of each complete message that {@link takeFrames} has not returned. */
  readonly #framesOf: number[] = [];
  #oversizedIn: number | undefined;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** The index of the message with the first oversized frame. Nothing is read after that frame. */
  get oversizedIn(): number | undefined {
    return this.#oversizedIn;
  }

  /** Returns the number of frames of the next message, in the order in which messages were read. */
  takeFrames(): number {
    return this.#framesOf.shift() ?? 1;
  }

  /**
   * Reads a chunk of bytes.
   *
   * @returns whether the chunk contains a data frame or a part of one
   */
  read(chunk: Buffer): boolean {
    let hasData = false;
    let at = 0;
    while (at < chunk.length && this.#oversizedIn === undefined) {
      if (this.#payloadLeft > 0) {
        const skipped = Math.min(this.#payloadLeft, chunk.length - at);
        this.#payloadLeft -= skipped;
        at += skipped;
      } else {
        this.#header[this.#headerBytes++] = chunk.readUInt8(at++);
        if (this.#headerBytes === this.#headerLength()) this.#endHeader();
      }
      hasData ||= this.#isData();
    }
    return hasData;
  }

  #isData(): boolean {
    return (this.#header.readUInt8(0) & 0x08) === 0;
  }

  #headerLength(): number {
    if (this.#headerBytes < 2) return 2;
    const second = this.#header.readUInt8(1);
    const length = second & 0x7f;
    return 2 + (length === 127 ? 8 : length === 126 ? 2 : 0) + (second & 0x80 ? 4 : 0);
  }

  #endHeader(): void {
    const short = this.#header.readUInt8(1) & 0x7f;
    const long = short === 127 ? Number(this.#header.readBigUInt64BE(2)) : this.#header.readUInt16BE(2);
    this.#payloadLeft = short < 126 ? short : long;
    this.#headerBytes = 0;
    if (!this.#isData()) return;
    if (this.#payloadLeft > this.#maxFrameBytes) this.#oversizedIn = this.#messages;
    this.#frames++;
    if (!(this.#header.readUInt8(0) & 0x80)) return;
    this.#messages++;
    this.#framesOf.push(this.#frames);
    this.#frames = 0;
  }
}
