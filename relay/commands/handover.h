/* SPDX-License-Identifier: ISC */
/*
 * handover.h - a switch of databases: what the parts of the command `handover` share
 *
 * The state of an outbox is an object: at, server (system_identifier, timeline, database, started,
 * version; a member that may not be read is null), last_id (the last id drawn, null if the database
 * does not give them), writers (sessions with an open transaction that has written to the table),
 * relays (as group_read), paused, left (waiting: count, exact, first_id, last_id; dead_letters;
 * held). The document that goes to the new side is such a state with outbox, settle, empty, and
 * handover, the version of its form.
 *
 * Thread: main, of a process without a loop; all block.
 */
#ifndef OUTBOX_CMD_HANDOVER_H
#define OUTBOX_CMD_HANDOVER_H

#include "base/error.h"
#include "base/pgname.h"
#include "config.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { HANDOVER_FORM = 1 };

/* Ids of the new side begin so far above the old ones. */
enum { HANDOVER_MARGIN = 1000 };

struct handover {
	const struct config *config;  /* borrowed */
	PGconn *conn;		      /* borrowed; its statements may take as long as they need */
	char table[PGNAME_FULL_SIZE]; /* for SQL */
	char shown[PGNAME_FULL_SIZE]; /* for people */
	/* the old side */
	int64_t wait_ms;
	bool record_left;
	const char *output; /* NULL: no file */
	bool paused_it;	    /* by this command, which resumes it if it fails */
	json_t *owners;	    /* owned; relays that had not handed over when a pause was last waited
			     * for; or NULL */
	/* the new side */
	const char *from; /* the document's file, or NULL */
	bool relative;	  /* above counts from the last id drawn here */
	int64_t above, margin;
	bool stay_paused;
};

/* The state now. What waits is counted up to some 10,000, or exactly. The order of reading is that
 * of the low watermark (docs/design.md): no event can follow on an empty outbox without writers,
 * unless somebody begins to write. NULL and err. */
json_t *handover_state(const struct handover *handover, bool exact, struct error *err);

/* The file for the new side (handover_file.c). Opened first, so that what cannot be written changes
 * nothing; with the path NULL there is none, and all of them do nothing. False and err. */
struct handover_file {
	const char *path; /* borrowed */
	char written[4096];
	bool aside; /* it is written beside the path, and has yet to take its place */
	FILE *out;
};
bool handover_file_open(struct handover_file *file, const char *path, struct error *err);
bool handover_file_write(struct handover_file *file, const json_t *document, struct error *err);
bool handover_file_keep(struct handover_file *file, struct error *err);
/* What was not kept goes. */
void handover_file_close(struct handover_file *file);

/* On the new side, with positions: sets them by what the document says was published, unless they
 * are right (handover_position.c). False and err. */
bool handover_position(const struct handover *handover, const json_t *old, json_t *out,
		       struct error *err);

/* On the new side, where the producers of exactly once came along from another server: gives the
 * outbox others, if the old side was empty and left nothing in doubt (handover_producers.c). False
 * and err. */
bool handover_producers(const struct handover *handover, const json_t *old, json_t *out,
			struct error *err);

/* How many events with ids up to the last one of the old side wait now, and the first of them.
 * False and err. */
bool handover_waiting_upto(const struct handover *handover, json_int_t last, json_int_t *count,
			   json_int_t *first, struct error *err);

/* How many events wait in a state. */
json_int_t handover_waiting(const json_t *state);

/* Both return the exit status. What they print with --json goes into out; words go to stderr. */
int handover_old(struct handover *handover, json_t *out);
int handover_new(const struct handover *handover, json_t *out);

#endif
