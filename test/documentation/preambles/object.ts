export const options = {
  // the sample
};
