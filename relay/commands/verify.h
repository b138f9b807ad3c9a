/* SPDX-License-Identifier: ISC */
/*
 * verify.h - what the files of the command `verify` share
 *
 * verify.c reads options, verify_outbox.c rows, verify_topics.c records; verify_missing.c looks at
 * what has not arrived; verify_report.c collects what is found and prints it. Thread: main.
 */
#ifndef OUTBOX_CMD_VERIFY_H
#define OUTBOX_CMD_VERIFY_H

#include "base/pgname.h"
#include "canary.h"
#include "config.h"
#include "core/audit.h"
#include "expected.h"
#include "kafka/reader.h"
#include "when.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* A record that was published again on purpose has this header. */
#define VERIFY_REPLAY_HEADER "outbox-relay-replay"

/* Clocks may be so far apart, and a record so much later than its row was claimed. */
enum { VERIFY_EARLIER_MS = 5 * 60 * 1000 };

struct verify_options {
	const char *path, *ids_path;  /* ids_path NULL: none */
	const char *since, *until;    /* as given; NULL: not */
	const char *from_id, *to_id;  /* likewise, and digits */
	struct config_strings topics; /* borrowed items */
	int64_t samples;	      /* -1: as the output has by default */
	int64_t overlaps_ms;	      /* out of order, and no finding, if inserted less apart; 0 */
	bool payloads, json, allow_repeats, continuous;
	struct canary_options canary;
};

enum verify_list {
	LIST_MISSING,
	LIST_REPEATED,
	LIST_OUT_OF_ORDER,
	LIST_MISPLACED,
	LIST_WRONG_KEY,
	LISTS
};

/* Names of the lists, as members of the JSON. */
extern const char *const verify_lists[LISTS];

/* The first event of a partition that is known, and when it was published; -1: not known. */
struct verify_first {
	int64_t id; /* AUDIT_NO_ID: none */
	int64_t ms;
	bool asked; /* the database, for that */
};

struct verify {
	const struct verify_options *options;
	const struct config *config;
	char table[PGNAME_FULL_SIZE], shown[PGNAME_FULL_SIZE]; /* for SQL; for people */
	PGconn *conn;
	struct expected *expected;
	struct kafka_reader *reader;
	struct audit *audit;
	char *event_id_header; /* owned; never NULL */
	char *id_header;       /* owned; NULL: none carries the id */
	bool timed;	       /* rows say when they were published */
	bool stay;	       /* published rows are in the outbox */
	bool ranged;	       /* not all of the outbox is read: what is unknown may be outside */

	struct when since, until;
	/* The first time that a record of the rows which were read may have; 0: nothing says it;
	 * INT64_MAX: none was published. */
	int64_t earliest_ms;
	int64_t *settled; /* owned; by place: records below are of rows that were there before */
	bool *compacted;  /* owned; by topic: it is, or may be */
	json_t *unread;	  /* owned; words: of which topics nobody could say it */
	struct verify_first *firsts; /* owned; by place; NULL: times are those of publishing */

	json_t *samples[LISTS]; /* owned */
	uint64_t missing, unknown, waiting, dead_letters, retained /* gone by retention */,
	    compacted_away, purged /* the row is gone, too */, cut_off, elsewhere,
	    nameless /* rows without an event id */;
	uint64_t due; /* events that must have arrived */
};

/* ---- rows (verify_outbox.c) ---- */

/* What is known of the events, in one snapshot; when it is taken, pinned() is called once. */
bool verify_read_outbox(struct verify *verify, bool (*pinned)(struct verify *, struct error *),
			struct error *err);
bool verify_read_ids(struct verify *verify, struct error *err);
/* Calls each for the ids of the list, whose bytes hold until it returns. */
bool verify_each_id(struct verify *verify, void (*each)(struct verify *, struct slice),
		    struct error *err);
/* When a row "t" was published or, where nothing says that, created, in ms since 1970; 0: nothing
 * says it. SQL, malloc'd. */
char *verify_ms_sql(const struct verify *verify);
/* When its record may have been written at the earliest, likewise. */
char *verify_earliest_sql(const struct verify *verify);
/* The row in the columns of expected.h, from 1 on; no row: it is gone. To be cleared; NULL and err.
 */
PGresult *verify_find_row(struct verify *verify, int64_t id, struct slice event_id,
			  struct error *err);
/* Whether the row with the id behind was inserted so soon after that with the id late that the
 * transactions may have overlapped, and there was no order to keep; or, with positions, whether
 * they have: its transaction began before the other one's. False, with *good set to false and err,
 * as well if the database could not be asked. */
bool verify_may_overlap(struct verify *verify, int64_t late, int64_t behind, bool *good,
			struct error *err);

/* ---- what has not arrived (verify_missing.c) ---- */

/* Fills in the list and the counts. */
bool verify_find_missing(struct verify *verify, struct error *err);

/* ---- records (verify_topics.c) ---- */

/* The header whose template is exactly the field; malloc'd. NULL: none. */
char *verify_header_of(const struct config *config, const char *field);
/* The event id in that header, which may lie in *copy, to be freed. data == NULL: there is none. */
struct slice verify_event_id(const struct config *config, const struct kafka_record *record,
			     const char *header, char **copy);
/* Connects, and chooses topics. */
bool verify_open_topics(struct verify *verify, struct error *err);
bool verify_read_topics(struct verify *verify, struct error *err);
/* Says more about why no broker has answered. */
void verify_explain(const struct kafka_options *kafka, struct error *err);

/* ---- findings (verify_report.c) ---- */

struct verify_sample {
	int64_t id;    /* AUDIT_NO_ID */
	int64_t after; /* out of order: the later event that came before; AUDIT_NO_ID */
	struct slice event_id, key, payload;
	const char *topic;
	int32_t partition;		 /* -1: none */
	int64_t offset;			 /* -1: none */
	int64_t time_ms;		 /* of the record, or of the publication; -1: not known */
	const struct kafka_place *other; /* where the event, or the key, was before; or NULL */
	int32_t row_partition;		 /* misplaced: that the row names; AUDIT_BY_KEY */
	const struct slice *row_key;	 /* wrong key: that of the row; NULL: not known */
};

bool verify_wants_sample(const struct verify *verify, enum verify_list list);
void verify_add_sample(struct verify *verify, enum verify_list list,
		       const struct verify_sample *sample);
/* Prints all of it; the exit status. */
int verify_report(const struct verify *verify);

#endif
