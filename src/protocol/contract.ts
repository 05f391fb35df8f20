/** The one thing that a view's class tells a typed client: which fields can be called, with what, for what. */

/** A field that a socket may call. `Input` is what travels in, `Output` what the handler returns. */
export interface Callable<Input, Output> {
  /** Types only; there is no such value at run time. */
  readonly "~call"?: { readonly input: Input; readonly output: Output } | undefined;
}

/** The names of `View` that a socket may call. */
export type CallableNames<View> = {
  [Name in keyof View]-?: View[Name] extends Callable<infer _Input, infer _Output>
    ? "~call" extends keyof View[Name]
      ? Name
      : never
    : never;
}[keyof View] &
  string;

export type InputOf<Field> = Field extends Callable<infer Input, infer _Output> ? Input : never;

/** A handler's result as JSON brings it: dates are strings, functions and undefined are gone. */
export type OutputOf<Field> = Field extends Callable<infer _Input, infer Output> ? Jsonified<Output> : never;

/** What `JSON.parse(JSON.stringify(value))` gives. A handler that returns nothing gives `undefined`. */
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
