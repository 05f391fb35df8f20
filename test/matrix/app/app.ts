import type { Sallyport } from "sallyport";
import { sallyport as untyped } from "./sallyport.js";

export const sallyport: Sallyport = untyped;
