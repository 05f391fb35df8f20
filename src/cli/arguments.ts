/** What commands are given, each with how it is explained wherever it occurs. */

export const USER = ["<user>", "as your app knows people, such as an e-mail address"] as const;
export const PERMISSION = ["<permission>", "such as chat.can_use_chat"] as const;
export const GROUP = ["<group>", "its name"] as const;
