/* SPDX-License-Identifier: ISC */
/*
 * compare.h - what the files of the command `compare` share
 *
 * compare.c: options; compare_read.c: reads the topics; compare_sample.c: what differs, in JSON;
 * compare_text.c (pure): times and bytes; compare_report.c prints. Thread: main.
 */
#ifndef OUTBOX_CMD_COMPARE_H
#define OUTBOX_CMD_COMPARE_H

#include "base/error.h"
#include "config.h"
#include "core/compare.h"
#include "kafka.h"
#include "kafka/reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Names of topics, or of headers; the items are borrowed. */
struct compare_options {
	const char *path, *bootstrap; /* NULL: the default file; as the file has it */
	const char *prefix, *id_header;
	const char *since, *until; /* as given; NULL: not */
	struct config_strings live, pairs, ignored;
	int64_t samples; /* -1: as the output has by default */
	bool json, allow_repeats, timestamps;
};

enum compare_list {
	LIST_MISSING_IN_SHADOW,
	LIST_MISSING_IN_LIVE,
	LIST_REPEATED_IN_SHADOW,
	LIST_REPEATED_IN_LIVE,
	LIST_TOPIC,
	LIST_PARTITION,
	LIST_KEY,
	LIST_VALUE,
	LIST_HEADERS,
	LIST_HEADER_ORDER,
	LIST_ORDER,
	LIST_TIMESTAMP,
	LIST_WITHOUT_ID,
	COMPARE_LISTS
};

/* Names of the lists, as members of the JSON. */
extern const char *const compare_lists[COMPARE_LISTS];

struct comparison {
	const struct compare_options *options;
	struct kafka_options kafka;
	struct kafka_reader *readers[COMPARE_SIDES]; /* owned */
	struct compare_place *places[COMPARE_SIDES]; /* owned */
	struct compare *compare;		     /* owned */
	struct compare_range range;
	json_t *samples[COMPARE_LISTS]; /* owned */
	json_t *topics[COMPARE_SIDES];	/* owned; names, those that belong together in one place */
};

/* ---- compare_read.c. False and err ---- */

/* Connects, and chooses topics. */
bool compare_open(struct comparison *comparison, struct error *err);
bool compare_read(struct comparison *comparison, struct error *err);
uint64_t compare_count(const struct comparison *comparison, enum compare_list list);
void compare_close(struct comparison *comparison);

/* ---- compare_sample.c ---- */

/* A record and the place where it is; NULL: it is not there, or not to be had. */
struct compare_sample {
	const struct kafka_record *records[COMPARE_SIDES];
	struct compare_spot spots[COMPARE_SIDES]; /* offset -1: in this set it is not */
};

bool compare_wants_sample(const struct comparison *comparison, enum compare_list list);
void compare_add_sample(struct comparison *comparison, enum compare_list list,
			const struct compare_sample *sample);

/* Whether headers of this name are not to be compared. */
bool compare_is_ignored(const struct comparison *comparison, const char *name);

/* ---- compare_text.c ---- */

/* "2026-11-30T03:00:00Z", with or without seconds, or how long before now: "2h", "0". */
bool compare_time(const char *text, int64_t now_ms, int64_t *time_ms, struct error *err);

/* The first byte in which two values differ. */
size_t compare_first(struct slice a, struct slice b);

/* Whether both are JSON, and the same but for blanks, the order of members and how numbers and
 * characters are written. */
bool compare_same_json(struct slice a, struct slice b);

/* ---- compare_report.c ---- */

/* Prints all of it; the exit status. */
int compare_report(const struct comparison *comparison);

#endif
