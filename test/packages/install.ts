export { installPackages } from "../../bench/src/install-packages.ts";
