import { sallyport } from "./sallyport.ts";

const change = { kind: "delete-group", group: "Moderators" } as const;
// the sample
