/*
 * commands/adopt_plan.h - the facts about an existing table that adoption is planned on
 */
#ifndef OUTBOX_CMD_ADOPT_H
#define OUTBOX_CMD_ADOPT_H

#include "adopt_plan.h"
#include "outbox/table.h"

#include <libpq-fe.h>
#include <stdint.h>

struct adopt_table {
	struct adopt_facts facts;
	bool exists;
	struct outbox_table outbox; /* if it exists */
	int64_t bytes;		    /* with toast */
	bool update_triggers;	    /* of the application: the backfill would fire them */
	PGresult *result;	    /* owned; what outbox borrows from */
};

/* Reads the catalog; facts.table must be set. Free with adopt_table_free also after false. */
bool adopt_table_read(PGconn *conn, struct adopt_table *table, struct error *err);
void adopt_table_free(struct adopt_table *table);

/* False and err if a column that is not mapped says of a row that it was handled: the relay would
 * publish it again. A column that only may say so is reported on stderr. */
bool adopt_done_check(PGconn *conn, const struct adopt_facts *facts,
		      const struct config_columns *mapped, bool mark, struct error *err);

/* Tells on stderr what the plan does to the table, and to those who use it meanwhile. */
void adopt_explain(const struct adopt_table *table, const struct adopt_plan *plan);

#endif
