export interface Order {
  readonly id: number;
  readonly tenant: string | undefined;
}

/** Each user has a tenant of the name before the dot: `acme.ann` belongs to `acme`. */
export const tenantOf = async (userId: string | undefined): Promise<string | undefined> =>
  userId?.split(".")[0];
export const findOrders = async (tenant: string | undefined, _page: number): Promise<readonly Order[]> => [
  { id: 1, tenant },
];
export const findOrder = async (id: number): Promise<Order | undefined> =>
  id === 1 ? { id, tenant: "acme" } : undefined;
