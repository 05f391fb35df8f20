export interface AppTables {
  readonly documents: { readonly id: string; readonly owner: string };
}
