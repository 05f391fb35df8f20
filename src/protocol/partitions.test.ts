import { partition } from "@aws-sdk/core/client";
import { expect, test } from "vitest";
import { partitionOf, suffixOf } from "./partitions.ts";

test.each([
  "eu-west-1",
  "ap-southeast-2",
  "cn-north-1",
  "cn-northwest-1",
  "us-gov-west-1",
  "us-iso-east-1",
  "us-isob-east-1",
  "eu-isoe-west-1",
  "us-isof-south-1",
  "eusc-de-east-1",
])("the part of AWS that %s is in, and its hosts, are those that AWS's SDK knows", (region) => {
  const { name, dnsSuffix } = partition(region);
  expect(partitionOf(region)).toBe(name);
  expect(suffixOf(region)).toBe(dnsSuffix);
});
