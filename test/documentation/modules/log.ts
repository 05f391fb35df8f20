export const log = {
  info: (fields: object): void => console.info(JSON.stringify(fields)),
  error: (fields: object): void => console.error(JSON.stringify(fields)),
};
