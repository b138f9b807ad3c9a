/* SPDX-License-Identifier: ISC */
/*
 * condition.c - a session that opens asks PostgreSQL whether outbox.where is a condition on rows
 */
#include "condition.h"

#include <stdlib.h>

void condition_ask(struct asker *asker, int prepared, int functions,
		   const struct outbox_shape *shape, const char *where)
{
	char *names = config_where_functions(where);
	struct pg_param param = pg_param_text(names);
	session_prepare(asker, prepared, "where plain",
			outbox_sql_where_plain(shape->table, where));
	session_prepare(asker, prepared, "where alone",
			outbox_sql_where_alone(shape->table, shape->names->id, where));
	session_ask_text(asker, functions, outbox_where_functions, &param, 1);
	free(names);
}

bool condition_judge(const PGresult *result, struct error *err)
{
	return PQgetisnull(result, 0, 0) ||
	       error_set(err,
			 "%s gives another answer at another time, and whether a row is an event "
			 "must hang on the row only",
			 PQgetvalue(result, 0, 0));
}

void condition_error(const struct outbox_shape *shape, const char *where, const char *why,
		     struct error *err)
{
	error_set(err, "outbox.where \"%s\" is no condition on the rows of table %s: %s", where,
		  shape->table, why);
}
