/*
 * dsn.h - whether a connection string can be right, judged without a connection
 */
#ifndef OUTBOX_PG_DSN_H
#define OUTBOX_PG_DSN_H

#include "base/error.h"

#include <stdbool.h>

/* what names the string in err, "database.dsn". Reads the service file if the string or the
 * environment names a service; resolves no host name. err never holds a password. Thread: any. */
bool pg_dsn_check(const char *what, const char *dsn, struct error *err);

/* Whether libpq's words of a connection that did not come about say that trying again is no use.
 * They are those of PQERRORS_VERBOSE. Thread: any. */
bool pg_dsn_is_refused(const char *words);

#endif
