/** What a command needs of the place it runs in. */
export interface Terminal {
  print(line: string): void;
  complain(line: string): void;
  /** `--app`, where it was given. */
  app(): string | undefined;
}
