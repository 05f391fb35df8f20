/** For the tests' own compiler, which does not know the app's paths. */
declare module "@/sallyport" {
  export const sallyport: import("sallyport").Sallyport;
}
