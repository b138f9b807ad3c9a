/* SPDX-License-Identifier: ISC */
/*
 * adopt.h - how an existing table becomes an outbox the relay can use
 */
#ifndef OUTBOX_COMMANDS_ADOPT_H
#define OUTBOX_COMMANDS_ADOPT_H

#include "base/error.h"
#include "base/pgname.h"
#include "config.h"
#include "outbox/table.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- facts in, SQL and mapping out (commands/adopt_plan.c). Pure. ---- */

struct adopt_column {
	char name[PGNAME_SIZE];
	char type[PGNAME_SIZE]; /* pg_type.typname: "uuid", "int8", "jsonb" */
	bool unique;		/* not null, and alone in a unique index */
	bool identity;
	bool from_sequence; /* identity, or a default by nextval */
};

struct adopt_facts {
	struct pgname table;
	size_t count;
	struct adopt_column *columns; /* in table order */
};

/* Roles, in the order of struct config_columns. */
enum adopt_role {
	ADOPT_ID,
	ADOPT_EVENT_ID,
	ADOPT_AGGREGATE_TYPE,
	ADOPT_AGGREGATE_ID,
	ADOPT_EVENT_TYPE,
	ADOPT_PAYLOAD,
	ADOPT_HEADERS,
	ADOPT_CREATED_AT,
	ADOPT_ROLES
};

struct adopt_plan {
	char columns[ADOPT_ROLES][PGNAME_SIZE]; /* "" where the table has none */
	bool numbers; /* rows get an ascending number first: the table is locked and rewritten */
	char *sql;    /* owned; what to run before the migrations; "" if nothing */
};

/* Decides. Columns named by the configuration win, then what such columns are commonly called.
 * False and err when a column is missing that nothing can stand in for, or has a type the relay
 * cannot read. */
bool adopt_plan(const struct adopt_facts *facts, const struct config_columns *wanted,
		struct adopt_plan *plan, struct error *err);
void adopt_plan_free(struct adopt_plan *plan);

/* The block for the configuration file; malloc'd. */
char *adopt_config(const struct adopt_facts *facts, const struct adopt_plan *plan, int settle);

/* Whether a column of this type can play this role. */
bool adopt_type_fits(enum adopt_role role, const char *type);

/* "bigint or integer": for messages. */
const char *adopt_types(enum adopt_role role);

/* The role's name in the configuration: "event_id". */
const char *adopt_role_name(enum adopt_role role);

/* The configured column name for a role. */
const char *adopt_configured(const struct config_columns *columns, enum adopt_role role);

/* The condition, in SQL, under which a column says that a row was handled: the relay does not read
 * it, and would publish these events again. malloc'd. NULL if the
 * name says nothing of the kind. */
char *adopt_done_condition(const struct adopt_column *column);

/* ---- the facts, from the catalog (commands/adopt.c) ---- */

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
		      const struct config_columns *mapped, int settle, struct error *err);

/* Prints on stderr what the plan does to the table, and to those who use it meanwhile. */
void adopt_explain(const struct adopt_table *table, const struct adopt_plan *plan);

#endif
