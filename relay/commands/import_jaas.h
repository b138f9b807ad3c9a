/* SPDX-License-Identifier: ISC */
/*
 * import_jaas.h - the login that sasl.jaas.config describes. Pure
 */
#ifndef OUTBOX_CMD_IMPORT_JAAS_H
#define OUTBOX_CMD_IMPORT_JAAS_H

#include <stdbool.h>

/* Each is owned, and may be NULL. */
struct jaas {
	char *module; /* the class, without its package */
	char *username, *password, *keytab, *principal;
};

/* "CLASS required name="value" ...;". False if it is nothing like it; to be freed either way; it is
 * empty then. */
bool jaas_read(const char *text, struct jaas *jaas);
void jaas_free(struct jaas *jaas);

#endif
