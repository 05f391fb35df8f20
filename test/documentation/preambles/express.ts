import express from "express";
import { expressMiddleware } from "sallyport/adapters/express";
import { sallyport } from "./sallyport.ts";

const app = express();
// the sample
