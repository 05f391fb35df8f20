export interface Message {
  readonly id: number;
  readonly room: string;
  readonly author: string;
  readonly text: string;
}

export const storeMessage = async (room: string, text: string, author = "ann"): Promise<Message> => ({
  id: 1,
  room,
  author,
  text,
});
export const findMessage = async (id: number): Promise<Message | undefined> => ({
  id,
  room: "general",
  author: "ann",
  text: "Hello",
});
export const deleteMessage = async (id: number): Promise<{ readonly deleted: number }> => ({ deleted: id });
