import { partition } from "@aws-sdk/core/client";
import { expect, test } from "vitest";
import { partitionOf, regionOfHost, suffixOf } from "./partitions.ts";

const REGIONS = [
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
];

test.each(REGIONS)("the partition and the host suffix of %s are those of the AWS SDK", (region) => {
  const { name, dnsSuffix } = partition(region);
  expect(partitionOf(region)).toBe(name);
  expect(suffixOf(region)).toBe(dnsSuffix);
});

test.each(REGIONS)("reads the region %s from the host of an API", (region) => {
  const { dnsSuffix } = partition(region);
  expect(regionOfHost(`abc123.execute-api.${region}.${dnsSuffix}`)).toBe(region);
  expect(regionOfHost(`abc123-vpce-1.execute-api.${region}.vpce.${dnsSuffix}`)).toBe(region);
});

test.each([
  "ws.example.com",
  "abc.execute-api.eu-west-1.example.com",
  "abc.execute-api.eusc-de-east-1.amazonaws.com",
  "abc.execute-api.eu-west-1.amazonaws.com.evil.example",
  "execute-api.eu-west-1.amazonaws.com",
  "abc.s3.eu-west-1.amazonaws.com",
])("reads no region from %s", (host) => {
  expect(regionOfHost(host)).toBeUndefined();
});
