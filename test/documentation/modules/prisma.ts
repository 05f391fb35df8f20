/** The part of a generated PrismaClient that the samples use. */
export const prisma = {
  projectMember: {
    count: async (_options: { readonly where: { projectId: string; userId: string } }): Promise<number> => 1,
  },
};
