import { Aws, type CfnResource } from "aws-cdk-lib";
import {
  CfnApi,
  CfnApiMapping,
  CfnDomainName,
  CfnIntegration,
  CfnRoute,
  CfnRouteResponse,
  CfnStage,
} from "aws-cdk-lib/aws-apigatewayv2";
import { CfnPermission } from "aws-cdk-lib/aws-lambda";
import type { Construct } from "constructs";
import type { CloudFormationTemplate } from "../aws/template.ts";

type ConstructType = new (scope: Construct, id: string, props: never) => CfnResource;

/** The constructs of the resources, so that aspects, tags and cdk-nag find the properties. */
const TYPES: Readonly<Record<string, ConstructType>> = {
  "AWS::ApiGatewayV2::Api": CfnApi,
  "AWS::ApiGatewayV2::ApiMapping": CfnApiMapping,
  "AWS::ApiGatewayV2::DomainName": CfnDomainName,
  "AWS::ApiGatewayV2::Integration": CfnIntegration,
  "AWS::ApiGatewayV2::Route": CfnRoute,
  "AWS::ApiGatewayV2::RouteResponse": CfnRouteResponse,
  "AWS::ApiGatewayV2::Stage": CfnStage,
  "AWS::Lambda::Permission": CfnPermission,
};

/** The properties with keys of the user, which CDK does not rename. */
const MAPS = new Set(["RequestParameters", "Tags"]);

/** The resources of a CloudFormation template, as constructs below a scope. */
export class TemplateConstructs {
  readonly #scope: Construct;
  /** The values of references that are not resources: parameters and pseudo parameters. */
  readonly #values: ReadonlyMap<string, string>;
  readonly #resources = new Map<string, CfnResource>();

  /**
   * Creates the constructs. Each resource refers only to resources before it.
   *
   * @param values the values of references to parameters, by name
   */
  constructor(
    scope: Construct,
    { Resources }: Pick<CloudFormationTemplate, "Resources">,
    values: Readonly<Record<string, string>>,
  ) {
    this.#scope = scope;
    this.#values = new Map(Object.entries({ "AWS::AccountId": Aws.ACCOUNT_ID, ...values }));
    for (const [id, { Type, Properties }] of Object.entries(Resources)) {
      const Resource = TYPES[Type];
      if (!Resource) throw new Error(`The template contains the unknown type ${Type}. Add it to TYPES.`);
      this.#resources.set(id, new Resource(this.#scope, id, this.#props(Properties) as never));
    }
  }

  /** Returns the construct of a resource of the template. */
  get<Type extends CfnResource>(id: string): Type {
    const resource = this.#resources.get(id);
    if (!resource)
      throw new Error(`The template contains no resource ${id}. Use the name of one of its resources.`);
    return resource as Type;
  }

  /** Returns a text of the template, with a token for each reference. */
  text(value: unknown): string {
    if (typeof value === "string") return value;
    const { Ref, "Fn::GetAtt": attribute, "Fn::Sub": text } = value as Intrinsic;
    if (Ref !== undefined) return this.#find(Ref) ?? this.get(Ref).ref;
    if (attribute) return this.get(attribute[0]).getAtt(attribute[1]).toString();
    // The tokens of CDK have the form of a reference: ${Token[TOKEN.1]}.
    return String(text).replace(/\$\{([^}]+)\}/g, (token, name: string) => this.#find(name) ?? token);
  }

  #find(name: string): string | undefined {
    return this.#values.get(name) ?? this.#resources.get(name)?.ref;
  }

  /** Returns properties with the names of CDK, which begin with a lower-case letter. */
  #props(properties: object): object {
    return Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [
        name.charAt(0).toLowerCase() + name.slice(1),
        MAPS.has(name) ? this.#map(value) : this.#prop(value),
      ]),
    );
  }

  #prop(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((each) => this.#prop(each));
    if (typeof value !== "object" || value === null) return value;
    return isIntrinsic(value) ? this.text(value) : this.#props(value);
  }

  #map(values: object): object {
    return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, this.text(value)]));
  }
}

interface Intrinsic {
  readonly Ref?: string;
  readonly "Fn::GetAtt"?: readonly [string, string];
  readonly "Fn::Sub"?: string;
}

function isIntrinsic(value: object): boolean {
  return "Ref" in value || "Fn::GetAtt" in value || "Fn::Sub" in value;
}
