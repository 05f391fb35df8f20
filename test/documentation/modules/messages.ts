export interface Message {
  readonly id: number;
  readonly room: string;
  readonly author: string | undefined;
  readonly text: string;
}

const messages: Message[] = [];

export async function storeMessage(room: string, text: string, author?: string): Promise<Message> {
  const message = { id: messages.length + 1, room, author, text };
  messages.push(message);
  return message;
}
export const findMessage = async (id: number): Promise<Message | undefined> => messages[id - 1];
export const messagesOf = async (room: string): Promise<readonly Message[]> =>
  messages.filter((message) => message.room === room);
export const deleteMessage = async (id: number): Promise<{ readonly deleted: number }> => ({ deleted: id });
export const searchMessages = async (text: string): Promise<readonly Message[]> =>
  messages.filter((message) => message.text.includes(text));
