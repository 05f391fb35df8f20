import { sallyport } from "./sallyport.ts";

declare const message: { readonly type: string };
// the sample
