import { definePermissions, modelPermissions } from "sallyport";

export const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  can_moderate_chat: "Can moderate chat",
});

export const shop = definePermissions("shop", modelPermissions("article"), modelPermissions("order"), {
  can_ship: "Can ship orders",
  can_moderate: "Can moderate the shop",
});
