/** @param {string} token */
export const userOf = async (token) => (token === "" ? undefined : "ann");
/** @param {string | undefined} user */
export const canUseChat = async (user) => user !== undefined;
