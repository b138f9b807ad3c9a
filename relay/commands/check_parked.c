/* SPDX-License-Identifier: ISC */
/*
 * check_parked.c - `check`: what is parked, by which key, and before what
 */
#include "check.h"
#include "dlq_text.h"
#include "outbox/parked.h"
#include "postgres.h"

#include <stdlib.h>

static bool refuse(struct check *check, const struct error *err, const char *remedy)
{
	char *harmless = dlq_escape(err->text);

	check_error(check, remedy, "%s", harmless);
	free(harmless);
	return false;
}

bool check_parked(struct check *check, const struct config *config, PGconn *conn, const char *table)
{
	const char *params[] = {table};
	struct error err;
	PGresult *result =
	    pgsync_query(conn, "asking for what is parked", parked_question, 1, params, &err);
	int64_t layout =
	    config->outbox.ordering == ORDERING_NONE ? PARKED_BY_ANY_KEY : parked_layout(config);
	const char *remedy;

	if (!result) {
		check_error(check, "check again", "%s", err.text);
		return false;
	}
	remedy = parked_check(result, table, layout, &err);
	PQclear(result);
	return remedy == NULL || refuse(check, &err, remedy);
}
