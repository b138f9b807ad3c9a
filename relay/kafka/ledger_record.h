/* SPDX-License-Identifier: ISC */
/*
 * ledger_record.h - what the relay writes into its ledger topic, and reads from it: bytes and notes
 *
 * A transaction begins with a BEGIN and ends with the note of its batch, cut into chunks that are
 * records of their own (END). A record's key is "begin" or "end/SLOT/CHUNK", where the slot is the
 * batch's number mod LEDGER_SLOTS: a compacted topic keeps the last of each. "line" has the
 *database server that the producer was last resolved on, with its timeline. What is read may be
 *anybody's, and is believed only as far as it checks out.
 *
 * A value, numbers in network order:
 *	 1	version
 *	 1	kind
 *	 1	length of the group, which follows
 *	 8	number of the batch; 0 in a BEGIN, since it is not known yet, and with a line
 *	 4	number of this chunk, from 0
 *	 4	how many chunks the note has
 *	 4	length of the whole note
 *	 4	CRC-32C of the whole note
 *	 ...	the chunk, or the line
 *
 * Pure. Thread: any, one at a time for each object.
 */
#ifndef OUTBOX_KAFKA_LEDGER_RECORD_H
#define OUTBOX_KAFKA_LEDGER_RECORD_H

#include "base/error.h"
#include "base/slice.h"
#include "core/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LEDGER_VERSION = 1,
	LEDGER_SLOTS = 64,
	LEDGER_GROUP = 40,	   /* as that of struct producer_id */
	LEDGER_KEY = 48,	   /* room for any key */
	LEDGER_HEAD = 128,	   /* more than what stands before a chunk in a value */
	LEDGER_CHUNK = 500 * 1000, /* a chunk's most bytes */
};

enum ledger_kind { LEDGER_BEGIN = 1, LEDGER_END = 2, LEDGER_LINE = 3 };

struct ledger_record {
	enum ledger_kind kind;
	char group[LEDGER_GROUP];
	int64_t number;
	uint32_t chunk, chunks;
	uint32_t note_len, checksum; /* of the whole note */
	struct slice bytes;	     /* of the chunk; borrowed */
};

struct ledger_record ledger_begin(const char *group);
struct ledger_record ledger_line(const char *group, const char *line); /* borrows from line */
/* How many chunks of at most chunk_len bytes the note has; at least one. */
uint32_t ledger_chunks(size_t note_len, size_t chunk_len);
/* checksum: of the note. */
struct ledger_record ledger_end(const char *group, const struct ledger_batch *batch,
				uint32_t checksum, size_t chunk_len, uint32_t chunk);

/* The length. */
size_t ledger_key(const struct ledger_record *record, char key[LEDGER_KEY]);
/* value has room for LEDGER_HEAD and the chunk. The length. */
size_t ledger_value(const struct ledger_record *record, char *value);
/* False and err, which says what to do: of another version, of another group, or damaged. record
 * borrows from value. */
bool ledger_parse(struct slice key, struct slice value, const char *group,
		  struct ledger_record *record, struct error *err);

uint32_t ledger_checksum(struct slice bytes); /* CRC-32C */

/* Notes that are put together of records, which come in the order of the log. */
struct ledger_notes;

/* Those with a greater number than settled are kept. */
struct ledger_notes *ledger_notes_new(const char *group, int64_t settled);
void ledger_notes_free(struct ledger_notes **notes);
bool ledger_notes_add(struct ledger_notes *notes, struct slice key, struct slice value,
		      struct error *err);
/* Records of notes above settled may lie before the first one that was added. */
bool ledger_notes_are_cut(const struct ledger_notes *notes);
/* All have been added: the notes, in the order of their numbers, and the last line that was among
 * them; they stay borrowed. A note that is not whole is an error, since it was committed as a
 * whole; only one whose chunks compaction may have taken away is left out, because a newer batch
 * has its slot. */
bool ledger_notes_end(struct ledger_notes *notes, struct ledger *ledger, struct error *err);

/* Where to begin to read from, to have the last so many offsets of low to high. */
int64_t ledger_window(int64_t low, int64_t high, int64_t offsets);

#endif
