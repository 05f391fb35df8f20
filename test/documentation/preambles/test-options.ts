import { sqlite } from "sallyport/storage/sqlite";
import { createTestApp } from "sallyport/testing";
import { sallyport } from "../src/sallyport.ts";

const storage = sqlite("data/test.db");
// the sample
