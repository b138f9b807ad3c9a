/* SPDX-License-Identifier: ISC */
/*
 * replay.h - one run of the command `replay`
 *
 * replay.c: options and report; replay_plan.c: which rows, and the row of outbox_relay.replays;
 * replay_run.c: the worker that publishes them, also for the command `shadow` (shadow.c).
 *
 * Thread: main, which is that of the loop.
 */
#ifndef OUTBOX_CMD_REPLAY_H
#define OUTBOX_CMD_REPLAY_H

#include "base/error.h"
#include "base/pgname.h"
#include "config.h"
#include "outbox/replay.h"

#include <jansson.h>
#include <stdbool.h>

struct replay_request {
	const char *path;
	json_t *selection; /* owned; what was asked for, member by member; {"all": true} */
	const char *topic; /* instead of route.topic; NULL: as ever */
	int64_t resume;	   /* the number of a replay to go on with; 0: a new one */
	int64_t rate;
	bool all, anew, dry_run, json;
};

struct replay_job {
	const struct replay_request *request;
	const struct config *config;
	char table[PGNAME_FULL_SIZE], shown[PGNAME_FULL_SIZE];
	PGconn *conn;		  /* owned, until the source has it */
	struct replay_rows *rows; /* owned, and so are these */
	json_t *selection;
	const char **event_ids;
	char *topic, *since, *until;
	const char *topic_prefix;	    /* borrowed; before each topic's name; NULL: none */
	const char *application;	    /* the name of its sessions */
	const struct replay_follow *follow; /* of the command `shadow`; NULL */
	struct replay replay;
	int64_t events;	 /* as counted when it began */
	json_t *counted; /* owned; topics, first_id, last_id, first_at, last_at */
	bool ended, interrupted;
};

/* ---- replay_plan.c. False and err ---- */

/* Whether this outbox can be replayed from. */
bool replay_check(struct replay_job *job, struct error *err);
/* Which rows are meant, and how many they are. */
bool replay_count(struct replay_job *job, struct error *err);
/* A new row of outbox_relay.replays, or the one that is gone on with; this session has it then. */
bool replay_begin(struct replay_job *job, struct error *err);
bool replay_resume(struct replay_job *job, struct error *err);
/* Borrows from the job, until it is called again. */
struct replay_selection replay_selected(struct replay_job *job);
/* Notes how far it has come. */
bool replay_end(struct replay_job *job, struct error *err);

/* ---- replay_run.c ---- */

/* Publishes until there is no more, or until it is told to stop. False: the set-up is wrong, and
 * that was said. */
bool replay_run(struct replay_job *job);

#endif
