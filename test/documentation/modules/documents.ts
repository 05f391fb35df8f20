export interface Document {
  readonly id: string;
  readonly owner: string;
  readonly text: string;
}

const documents: readonly Document[] = [{ id: "plan", owner: "ann", text: "The plan" }];

export const findDocument = async (id: string): Promise<Document | undefined> =>
  documents.find((document) => document.id === id);
