export const isCustomDomain = async (origin: string): Promise<boolean> =>
  origin === "https://chat.customer.example";
