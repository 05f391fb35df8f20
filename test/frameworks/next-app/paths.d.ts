/** For the compiler of the tests, which does not know the paths of the app. */
declare module "@/sallyport" {
  export const sallyport: import("sallyport").Sallyport;
}
