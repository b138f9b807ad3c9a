/* SPDX-License-Identifier: ISC */
/*
 * replay.h - published rows as a source: they are published once more, and nothing of them changes
 *
 * The rows are read in the order of their ids, a batch at a time, no faster than asked for. What
 * settling a batch is to the outbox is here a new position in outbox_relay.replays: all rows up to
 * it are done. So whoever goes on after a crash repeats one batch at most. A rejected row counts as
 * done.
 *
 * A shadow is a replay of all rows, whether they are published or not, that goes on with those that
 * come. It writes nothing down: its position is in memory.
 *
 * Thread: loop, where nothing else is said.
 */
#ifndef OUTBOX_OUTBOX_REPLAY_H
#define OUTBOX_OUTBOX_REPLAY_H

#include "base/error.h"
#include "base/loop.h"
#include "config.h"
#include "core/source.h"
#include "postgres.h"

/* Which published rows, all conditions together. Texts are borrowed; NULL: any. */
struct replay_selection {
	const char *from_id, *to_id; /* numbers, inclusive */
	const char *const *event_ids;
	size_t event_id_count; /* 0: any */
	const char *key;       /* as route.key renders it */
	/* When they were published or, with positions, created, as PostgreSQL reads a time: from
	 * since on, before until. */
	const char *since, *until;
};

/* ---- the rows (outbox/replay_rows.c). Thread: main ---- */

struct replay_rows;

/* config is borrowed. NULL and err if a name or a template of the configuration does not parse. */
struct replay_rows *replay_rows_new(const struct config *config, struct error *err);
void replay_rows_free(struct replay_rows **rows);

/* A route_field_fn (arg: the rows) for the templates of the configuration. */
int replay_rows_field(const char *name, void *arg);

/* Looks at the table: to be called before what follows. Blocks. False and err if it cannot be
 * replayed from. */
bool replay_rows_look(struct replay_rows *rows, PGconn *conn, struct error *err);

/* Larger payloads are not fetched. To be called before the source is made. */
void replay_rows_withhold(struct replay_rows *rows, size_t bytes);

/* A statement, malloc'd: a row for each topic, the one with the most events first, with the columns
 * topic (NULL: none can be told), events, first_id, last_id, first_at, last_at. topic: instead of
 * route.topic, or NULL. */
char *replay_rows_count(const struct replay_rows *rows, const struct replay_selection *selection,
			const char *topic);

/* ---- the source (outbox/replay.c) ---- */

/* A row of outbox_relay.replays. */
struct replay {
	int64_t number;		   /* 0: a shadow */
	int64_t first_id, last_id; /* no row outside is looked at */
	int64_t position, published, rejected;
	int64_t rate; /* events a second; 0: as fast as it goes */
};

/* Of a shadow. */
struct replay_follow {
	bool from_now; /* the position is where the table ends */
	bool once;     /* it ends where the table ended when it began */
	int64_t poll_us;
};

struct replay_events {
	/* Of a shadow, NULL otherwise: no more rows will come up to upto, and the position is where
	 * it begins. */
	void (*begun)(void *owner, int64_t upto);
	void (*moved)(void *owner); /* the replay has another position */
	/* There are no more rows: the owner is to stop the worker. */
	void (*ended)(void *owner);
};

struct replay_options {
	const struct config *config;
	const struct replay_rows *rows;
	struct replay_selection selection;
	const struct replay_follow *follow; /* NULL: published rows, of the selection */
	struct replay *replay;		    /* the source writes position, published and rejected */
	const char *application;	    /* the name of its sessions */
	struct pg_login login;		    /* for a session in place of one that is lost */
	const struct replay_events *events;
	void *owner; /* passed back to events */
};

/* What options points to is borrowed. conn is a session that has the replay (replay_take); the
 * source's from now on. */
struct source *replay_source_new(struct loop *loop, const struct replay_options *options,
				 PGconn *conn, const struct source_events *events, void *owner);
void replay_source_free(struct source **source);

/* Makes this session the only one that works on the replay; a shadow has no number, 0, and its
 * session can only read. False and err, also if another one
 * does. Blocks. Thread: main. */
bool replay_take(PGconn *conn, int64_t number, struct error *err);

#endif
