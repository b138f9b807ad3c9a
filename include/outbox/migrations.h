/* SPDX-License-Identifier: ISC */
/*
 * migrations.h - the scripts of sql/ with the names of one outbox filled in
 *
 * The scripts use psql's variables, :"name" for an identifier and :'name' for a string, so that
 * psql can run them too. As in psql, nothing is replaced inside quotes, dollar quotes and comments.
 * Pure. Thread: any.
 */
#ifndef OUTBOX_MIGRATE_H
#define OUTBOX_MIGRATE_H

#include "base/error.h"
#include "base/pgname.h"

#include <stdbool.h>

struct migrate_target {
	struct pgname outbox;
	const char *id, *event_id; /* the columns */
	const char *published;	   /* the column that says that a row is, with SETTLE_MARK */
	const char *published_value, *pending_value, *where; /* of the configuration; or "" */
	const char *role; /* of the relay; NULL: as it is, at first outbox_relay */
	int settle;	  /* enum config_settle */
	/* How many a new table is to have, in digits; NULL: it is to be a plain one. */
	const char *partitions;
	/* How far each partition by range reaches, "id:10000000" or "created_at:1d"; NULL: as it
	 * is, at first the relay makes and drops none. */
	const char *partition_by;
};

/* One script ready to run; malloc'd. NULL and err if it names an unknown variable. */
char *migrate_fill(const char *text, const struct migrate_target *target, struct error *err);

/* "0003_bell.sql" -> 3; 0 for a file that is no migration. */
int migrate_number(const char *name);

/* The number of the newest migration in this binary. */
int migrate_latest(void);

/* Whether a schema of this version will do; false and err, which says what to do. */
bool migrate_is_new_enough(int version, struct error *err);

/* The script that makes a new table in target->partitions partitions, or by target->partition_by,
 * to be run before the migrations; malloc'd. */
char *migrate_partitions(const struct migrate_target *target, struct error *err);

/* What must hold before anything of ours is made or changed, as a script that changes nothing;
 * malloc'd. */
char *migrate_guard(const struct migrate_target *target, struct error *err);

/* Whether the role of the session may make what is missing, as a script that changes nothing and
 * fails with what an administrator must run; malloc'd. */
char *migrate_rights(const struct migrate_target *target, struct error *err);

/* All migrations as one script for another tool, or the uninstall script; malloc'd. before is SQL
 * to run first, or NULL. */
char *migrate_print(const struct migrate_target *target, const char *before, struct error *err);
char *migrate_print_uninstall(const struct migrate_target *target, struct error *err);

#endif
