/** Maximum length of a channel name, in characters. */
const MAX_CHANNEL_LENGTH = 128;

const NAME = /^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/;

/**
 * Returns whether a channel name is valid: letters, digits, `_` and `-`, in parts separated by `/`.
 */
export function isChannelName(name: string): boolean {
  return name.length <= MAX_CHANNEL_LENGTH && NAME.test(name);
}
