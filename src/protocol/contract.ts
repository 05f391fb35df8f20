/**
 * Types that a typed client derives from the class of a view: handlers, their inputs and outputs.
 */

/** A handler that clients can call. `Input` is the type of its message, `Output` of its result. */
export interface Callable<Input, Output> {
  /** Exists in types only. It has no value at run time. */
  readonly "~call"?: { readonly input: Input; readonly output: Output } | undefined;
}

/** The names of the handlers of `View` that clients can call. */
export type CallableNames<View> = {
  [Name in keyof View]-?: View[Name] extends Callable<infer _Input, infer _Output>
    ? "~call" extends keyof View[Name]
      ? Name
      : never
    : never;
}[keyof View] &
  string;

/** The type of the message of a handler. */
export type InputOf<Field> = Field extends Callable<infer Input, infer _Output> ? Input : never;

/** The type of the result of a handler after JSON. Dates are strings, functions are removed. */
export type OutputOf<Field> = Field extends Callable<infer _Input, infer Output> ? Jsonified<Output> : never;

/**
 * The type of `JSON.parse(JSON.stringify(value))`. It is `undefined` if a handler returns nothing.
 */
export type Jsonified<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends void
    ? undefined
    : T extends { toJSON(): infer Json }
      ? Jsonified<Json>
      : T extends (...args: never) => unknown
        ? never
        : T extends readonly unknown[]
          ? { [Index in keyof T]: Jsonified<T[Index]> }
          : T extends object
            ? {
                [Key in keyof T as T[Key] extends ((...args: never) => unknown) | symbol
                  ? never
                  : Key]: Jsonified<T[Key]>;
              }
            : never;
