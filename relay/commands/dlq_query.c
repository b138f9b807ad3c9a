/* SPDX-License-Identifier: ISC */
/*
 * dlq_query.c - what the subcommands of `dlq` share: their names, and questions with a filter
 */
#include "base/xalloc.h"
#include "dlq.h"
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>

const char *const dlq_actions[DLQ_ACTIONS] = {"list", "show", "retry", "discard", "edit"};

PGresult *dlq_query(const struct dlq *dlq, const char *what, const char *format, struct error *err)
{
	struct dlq_values params = {0};
	char age[DLQ_AGE_SIZE], *filter, *sql;
	PGresult *result;

	dlq_values_add(&params, dlq->table);
	filter = dlq_filter_sql(&dlq->filter, 2, &params, age);
	sql = xasprintf(format, filter);
	result = pgsync_query(dlq->conn, what, sql, (int)params.count, params.items, err);
	free(sql);
	free(filter);
	free(params.items);
	return result;
}

int dlq_nothing(const struct dlq *dlq)
{
	char *filter = dlq_filter_text(&dlq->filter);

	fprintf(stderr, "no parked event or dead letter of %s matches%s\n", dlq->shown, filter);
	free(filter);
	return EXIT_FAILED;
}
