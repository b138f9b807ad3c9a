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
	char category;	    /* pg_type.typcategory of its type: 'S' for citext */
	bool not_null;
	bool indexed;	    /* it leads a valid index of all rows */
	bool unfinished;    /* `migrate` was numbering the rows by it */
	const char *preset; /* its default, as SQL; borrowed from the result; NULL: none */
};

struct adopt_facts {
	struct pgname table;
	size_t count;
	struct adopt_column *columns; /* in table order */
	uint32_t oid;
	bool partitioned;
	bool owned;	    /* by the session's role, or one that it is a member of */
	bool small;	    /* nothing takes long */
	bool waits_indexed; /* `migrate` has built the index on rows that wait */
	const char
	    *leaves; /* its partitions with rows, by chr(31): quoted for SQL, chr(30), oid; "" */
	const char *key; /* the columns of a key that is unique and not null, by chr(31); "" */
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
	char made[PGNAME_SIZE]; /* when a row was; also where outbox.columns.created_at is "" */
	bool numbers;		/* rows get an ascending number first */
	bool adds_event_id;	/* and an identity */
	bool indexes;		/* only an index on the id is missing */
	const char *order; /* borrowed: what rows are numbered by, as SQL; NULL: see adopt_order */
};

/* Decides. Columns named by the configuration win, then what such columns are commonly called.
 * False and err when a column is missing that nothing can stand in for, or has a type the relay
 * cannot read. */
bool adopt_plan(const struct adopt_facts *facts, const struct config_columns *wanted,
		struct adopt_plan *plan, struct error *err);

/* What the configuration is to say of rows that are published already. All owned; NULL: nothing. */
struct adopt_published {
	int settle; /* enum config_settle */
	char *column, *published_value, *pending_value;
	char *where;
};

/* The block for the configuration file; malloc'd. config: the file that there is, whose route is
 * left as it is if it names nothing that the table lacks; NULL: there is none. */
struct adopt_like;
char *adopt_config(const struct adopt_facts *facts, const struct adopt_plan *plan,
		   const struct adopt_published *published, const struct adopt_like *like,
		   const struct config *config);

/* Whether a column of this type can play this role. */
bool adopt_type_fits(enum adopt_role role, const char *type);
bool adopt_column_fits(enum adopt_role role, const struct adopt_column *column);

/* "bigint or integer": for messages. */
const char *adopt_types(enum adopt_role role);

/* The role's name in the configuration: "event_id". */
const char *adopt_role_name(enum adopt_role role);

/* The configured column name for a role. */
const char *adopt_configured(const struct config_columns *columns, enum adopt_role role);

/* NULL if there is none of this name. */
const struct adopt_column *adopt_find(const struct adopt_facts *facts, const char *name);

/* ---- what rows are numbered by (commands/adopt_steps.c). Pure. ---- */

/* Quoted columns for ORDER BY, and words for it: by when rows were made, then by the transactions
 * that inserted them; by what --order-by says. Malloc'd. */
char *adopt_order(const struct adopt_facts *facts, const struct adopt_plan *plan);
/* --order-by's text, "a, b desc", as SQL; malloc'd. NULL and err if a column is none of the
 * table's.
 */
char *adopt_order_by(const struct adopt_facts *facts, const char *text, struct error *err);

/* The steps that come before the migrations, each a transaction of its own, so that nobody who
 * writes to the table waits long. Each may be run again, and all of them after an interruption. */
struct adopt_step {
	const char *what; /* for words: "numbering rows" */
	char *sql;	  /* owned */
	bool waits;	  /* for a lock on the table, which others want meanwhile */
};
struct adopt_steps {
	struct adopt_step *items; /* owned */
	size_t count;
};
void adopt_steps_make(const struct adopt_facts *facts, const struct adopt_plan *plan,
		      const struct adopt_published *published, struct adopt_steps *steps);
void adopt_steps_free(struct adopt_steps *steps);
/* Ends the transaction that is open, and takes the steps (commands/adopt_run.c). False and err,
 * which names the step. Blocks. */
bool adopt_steps_run(PGconn *conn, const struct adopt_steps *steps, struct error *err);

/* ---- which rows are published already (commands/adopt_done.c, adopt_published.c) ---- */

/* What a column says of its row's event, by its name and type. */
enum adopt_says {
	ADOPT_NOTHING,
	ADOPT_DONE,   /* that it was handled */
	ADOPT_WAITS,  /* that it was not */
	ADOPT_STATUS, /* one of several words, or a number of unknown meaning */
	ADOPT_UNSURE  /* that it was, or was not, or is to be handled at a time */
};
/* Pure. */
enum adopt_says adopt_says(const struct adopt_column *column);
/* The condition, in SQL, under which it says that a row was handled: the relay does not read it,
 * and would publish these events again. malloc'd. NULL if it says nothing, or is unsure. Pure. */
char *adopt_done_condition(const struct adopt_column *column);

/* Of a status' value, or a flag's: says that the row is published; that it waits. Neither: nobody
 * knows. Pure. */
bool adopt_says_published(const char *value);
bool adopt_says_pending(const char *value);

struct adopt_choice {
	const char *events; /* outbox.where; "": all rows are */
	const char *where;  /* --published-where, NULL: not given */
	bool ignores;	    /* --ignore-flag */
	bool adopts;	    /* --adopt: what is found becomes configuration; else it is refused */
	bool free;	    /* no file says how rows are settled */
};

/* Finds what says so, or refuses with what there is to choose from. mapped: the columns that play a
 * role, and what marks rows. */
bool adopt_published_find(PGconn *conn, const struct adopt_facts *facts,
			  const struct config_columns *mapped, const struct adopt_choice *choice,
			  struct adopt_published *published, struct error *err);
/* In parentheses of its own, whatever comment ends it; malloc'd. */
char *adopt_parenthesize(const char *condition);

/* False and err, which says what there is to choose from, if the table has rows. */
bool adopt_published_ask(PGconn *conn, const struct adopt_facts *facts, const char *id,
			 const char *title, struct error *err);
void adopt_published_free(struct adopt_published *published);

/* ---- the facts, from the catalog (commands/adopt.c) ---- */

struct adopt_table {
	struct adopt_facts facts;
	bool exists;
	struct outbox_table outbox; /* if it exists */
	int64_t bytes;		    /* with toast */
	bool update_triggers;	    /* of the application: the backfill would fire them */
	const char *published_at, *published_value; /* what marks rows; of the configuration */
	PGresult *result;			    /* owned; what outbox borrows from */
	PGresult *columns;			    /* owned; likewise the facts */
};

/* Reads the catalog; facts.table and what marks rows must be set. Free with adopt_table_free also
 * after false. */
bool adopt_table_read(PGconn *conn, struct adopt_table *table, struct error *err);
void adopt_table_free(struct adopt_table *table);

/* Prints on stderr what the plan does to the table, and to those who use it meanwhile. */
void adopt_explain(const struct adopt_table *table, const struct adopt_plan *plan);

/* The same of columns that the file names, other than usual, and that are not there or serve for
 * nothing: what to name instead. With the file as it is the relay would not begin. */
void adopt_explain_lacking(const struct adopt_table *table, const struct adopt_plan *plan,
			   const struct config_columns *wanted, const struct config_columns *usual);

#endif
