import { nextHandlers } from "sallyport/adapters/next";
import { sallyport } from "@/sallyport/sallyport";

export const { GET, POST, OPTIONS } = nextHandlers(sallyport);
