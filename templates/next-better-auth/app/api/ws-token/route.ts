import { nextHandlers } from "sallyport/adapters/next";
import { sallyport } from "../../../src/sallyport.ts";

export const { GET, POST, OPTIONS } = nextHandlers(sallyport);
