// The parts of aws-cdk-lib and constructs that this folder uses. The package is too large to be
// installed with the repository. Apps compile with the real types, because this file is not
// published. `test/matrix/cdk.test.ts` compiles this folder with the real types too.

declare module "constructs" {
  export interface IConstruct {
    readonly node: Node;
  }
  export interface Node {
    readonly path: string;
  }
  export class Construct implements IConstruct {
    readonly node: Node;
    constructor(scope: Construct, id: string);
  }
}

declare module "aws-cdk-lib" {
  import type { Construct, IConstruct } from "constructs";

  export class Stack extends Construct {
    static of(construct: IConstruct): Stack;
    readonly account: string;
    readonly region: string;
    readonly urlSuffix: string;
    toJsonString(value: unknown): string;
  }
  export class Aws {
    static readonly ACCOUNT_ID: string;
  }
  export class CfnResource extends Construct {
    readonly ref: string;
    getAtt(name: string): IResolvable;
  }
  export class Duration {
    static minutes(amount: number): Duration;
  }
  export interface IResolvable {
    toString(): string;
  }
  export class SecretValue {
    static secretsManager(secretId: string, options?: { readonly versionId?: string }): SecretValue;
    unsafeUnwrap(): string;
  }
  export class Token {
    static isUnresolved(value: unknown): boolean;
  }
  export class Tokenization {
    static reverseString(text: string): TokenizedStringFragments;
  }
  export class TokenizedStringFragments {
    mapTokens(mapper: { mapToken(token: IResolvable): unknown }): TokenizedStringFragments;
    join(concat: StringConcat): unknown;
  }
  export class StringConcat {
    join(left: unknown, right: unknown): unknown;
  }
}

declare module "aws-cdk-lib/aws-apigatewayv2" {
  import type { CfnResource } from "aws-cdk-lib";
  import type { Construct } from "constructs";

  export class CfnApi extends CfnResource {
    constructor(scope: Construct, id: string, props?: object);
  }
  export class CfnApiMapping extends CfnResource {
    constructor(scope: Construct, id: string, props: object);
  }
  export class CfnDomainName extends CfnResource {
    constructor(scope: Construct, id: string, props: object);
  }
  export class CfnIntegration extends CfnResource {
    constructor(scope: Construct, id: string, props: object);
  }
  export class CfnRoute extends CfnResource {
    constructor(scope: Construct, id: string, props: object);
  }
  export class CfnRouteResponse extends CfnResource {
    constructor(scope: Construct, id: string, props: object);
  }
  export class CfnStage extends CfnResource {
    constructor(scope: Construct, id: string, props: object);
  }
}

declare module "aws-cdk-lib/aws-certificatemanager" {
  export interface ICertificate {
    readonly certificateArn: string;
  }
}

declare module "aws-cdk-lib/aws-events" {
  import type { Duration } from "aws-cdk-lib";
  import { Construct } from "constructs";

  export class Schedule {
    static rate(duration: Duration): Schedule;
  }
  export interface IRuleTarget {
    bind(rule: Rule): object;
  }
  export class Rule extends Construct {
    constructor(
      scope: Construct,
      id: string,
      props: {
        readonly description?: string;
        readonly schedule?: Schedule;
        readonly targets?: IRuleTarget[];
      },
    );
  }
}

declare module "aws-cdk-lib/aws-events-targets" {
  import type { IRuleTarget, Rule } from "aws-cdk-lib/aws-events";
  import type { IFunction } from "aws-cdk-lib/aws-lambda";

  export class LambdaFunction implements IRuleTarget {
    constructor(handler: IFunction);
    bind(rule: Rule): object;
  }
}

declare module "aws-cdk-lib/aws-iam" {
  export interface IGrantable {
    readonly grantPrincipal: object;
  }
  export class Grant {
    static addToPrincipal(options: {
      readonly grantee: IGrantable;
      readonly actions: string[];
      readonly resourceArns: string[];
    }): Grant;
  }
}

declare module "aws-cdk-lib/aws-lambda" {
  import type { CfnResource } from "aws-cdk-lib";
  import type { IGrantable } from "aws-cdk-lib/aws-iam";
  import type { Construct, IConstruct } from "constructs";

  export interface IFunction extends IConstruct, IGrantable {
    readonly functionArn: string;
  }
  export class CfnPermission extends CfnResource {
    constructor(scope: Construct, id: string, props: object);
  }
}

declare module "aws-cdk-lib/aws-logs" {
  export interface ILogGroup {
    readonly logGroupName: string;
  }
}

declare module "aws-cdk-lib/aws-route53" {
  import { Construct } from "constructs";

  export interface IHostedZone {
    readonly hostedZoneId: string;
  }
  export interface AliasRecordTargetConfig {
    readonly dnsName: string;
    readonly hostedZoneId: string;
  }
  export class RecordTarget {
    static fromAlias(target: { bind(): AliasRecordTargetConfig }): RecordTarget;
  }
  export class ARecord extends Construct {
    constructor(
      scope: Construct,
      id: string,
      props: { readonly zone: IHostedZone; readonly recordName?: string; readonly target: RecordTarget },
    );
  }
}

declare module "aws-cdk-lib/aws-secretsmanager" {
  import { Construct } from "constructs";

  export interface ISecret {
    readonly secretArn: string;
  }
  export class Secret extends Construct implements ISecret {
    readonly secretArn: string;
    constructor(
      scope: Construct,
      id: string,
      props?: {
        readonly description?: string;
        readonly generateSecretString?: {
          readonly excludePunctuation?: boolean;
          readonly passwordLength?: number;
        };
      },
    );
  }
}
