/** The prefix of every tag that Sallyport manages. */
export const TAG_PREFIX = "sallyport:";
/** The tag of an API or stage that contains the name of its gateway. */
export const GATEWAY_TAG = `${TAG_PREFIX}gateway`;
/** The tag of an API that contains the id of its record in the database. */
export const RECORD_TAG = `${TAG_PREFIX}record`;
/**
 * The tag of a domain that provisioning created. It contains the id of the record. The domain is
 * removed when its last mapping is removed.
 */
export const DOMAIN_TAG = `${TAG_PREFIX}domain`;
