/** The part of Better Auth that the samples use. */
export const auth = {
  api: {
    getSession: async (_options: {
      readonly headers: Headers;
    }): Promise<{
      readonly user: { readonly id: string };
      readonly session: { readonly id: string };
    } | null> => ({
      user: { id: "ann" },
      session: { id: "s1" },
    }),
  },
};
