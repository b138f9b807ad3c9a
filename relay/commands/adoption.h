/* SPDX-License-Identifier: ISC */
/*
 * adoption.h - what `migrate` is asked for, and what an existing table becomes by that
 *
 * Thread: main, of a process without a loop.
 */
#ifndef OUTBOX_COMMANDS_ADOPTION_H
#define OUTBOX_COMMANDS_ADOPTION_H

#include "adopt.h"
#include "adopt_like.h"
#include "outbox/migrations.h"

/* Of the command line, and of the file if there is one. */
struct request {
	struct config *config; /* owned; NULL when there is no file */
	const char *path;      /* NULL: the default one */
	const char *dsn, *table;
	const char *order_by, *published_where, *like_name; /* NULL: not given */
	const struct adopt_like *like;			    /* NULL: of no known framework */
	bool print, uninstall, adopt, ignore_flag;
	bool known; /* the outbox was migrated before */
	struct {    /* for this; all owned; NULL: it was not */
		char *settle, *column, *value, *waits, *where;
	} was;
	struct config_columns columns;
	struct migrate_target target;
};

/* What an existing table becomes. */
struct adoption {
	struct adopt_plan plan;
	struct adopt_published published;
	struct adopt_steps steps;
	char *order; /* owned */
};

/* The columns of a table that `migrate` makes. */
extern const struct config_columns adoption_standard;

/* Finds the framework of --like; false after words for one that cannot be adopted, before anything
 * is connected to. Then its columns' names are wanted, unless a file gives others. */
bool adoption_choose_like(struct request *request);
void adoption_take_like(struct request *request);

/* What the outbox was migrated for. Without a file that stays so. False and err if it cannot be
 * asked. */
bool adoption_read_known(PGconn *conn, struct request *request, struct error *err);
void adoption_forget_known(struct request *request);

/* Decides, and changes nothing: false and err if the table cannot be right. Also without --adopt,
 * where it looks whether rows are published already. Free also after false. */
bool adoption_plan(PGconn *conn, const struct request *request, const struct adopt_table *table,
		   struct adoption *adoption, struct error *err);
void adoption_free(struct adoption *adoption);

/* Whether PostgreSQL takes outbox.where for the condition of an index, as the last migration will
 * ask: before steps that take long. It makes a table, and drops it. */
bool adoption_judge(PGconn *conn, const struct request *request, const struct adopt_table *table,
		    struct error *err);

/* The migrations' names follow it, while it lives. */
void adoption_take_over(struct request *request, const struct adoption *adoption);

#endif
