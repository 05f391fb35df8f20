import { nextHandlers } from "sallyport/adapters/next";
import { sallyport } from "../../../sallyport/sallyport.ts";

export const { GET, POST, OPTIONS } = nextHandlers(sallyport);
