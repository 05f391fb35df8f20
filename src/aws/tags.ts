/** Tags that are ours begin so. */
export const TAG_PREFIX = "sallyport:";
/** The tag that names the gateway of an API or stage. */
export const GATEWAY_TAG = `${TAG_PREFIX}gateway`;
/** The tag by which it is known whose it is: the id of a database's record. */
export const RECORD_TAG = `${TAG_PREFIX}record`;
/** The tag of a domain that we made, with the id of the record for which: it goes when nothing leads from it any more. */
export const DOMAIN_TAG = `${TAG_PREFIX}domain`;
