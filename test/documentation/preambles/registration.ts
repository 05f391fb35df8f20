import { sallyport } from "./sallyport.ts";

declare const apiId: string;
declare const endpoint: string;
declare const stage: string;
declare const secret: string;
declare const replies: "route" | "push";
// the sample
