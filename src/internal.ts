/**
 * The key of the members of a Sallyport object that adapters, the command line and tests use. It is
 * the same in every copy of this package.
 */
export const INTERNAL: unique symbol = Symbol.for("sallyport.internal") as never;
