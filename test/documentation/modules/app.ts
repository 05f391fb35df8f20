import type { RequestListener } from "node:http";

export const app: RequestListener = (_request, response) => void response.end();
