/* SPDX-License-Identifier: ISC */
/*
 * condition.h - a session that opens asks PostgreSQL whether outbox.where is a condition on rows
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_CONDITION_H
#define OUTBOX_OUTBOX_CONDITION_H

#include "outbox/sql.h"
#include "session.h"

#include <libpq-fe.h>

/* Two statements are prepared, which is all that is done with them, with this tag: they fail where
 * it is none. A query with the second tag says more. */
void condition_ask(struct asker *asker, int prepared, int functions,
		   const struct outbox_shape *shape, const char *where);

/* The query's answer: false and err, for condition_error. */
bool condition_judge(const PGresult *result, struct error *err);
void condition_error(const struct outbox_shape *shape, const char *where, const char *why,
		     struct error *err);

#endif
