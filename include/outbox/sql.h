/* SPDX-License-Identifier: ISC */
/*
 * sql.h - the statements of the outbox source, made to the table's shape
 *
 * Pure: text in, text out. Every statement's text is malloc'd and the caller's. Thread: any.
 */
#ifndef OUTBOX_OUTBOX_SQL_H
#define OUTBOX_OUTBOX_SQL_H

#include "base/error.h"
#include "config.h"
#include "core/event.h"
#include "core/field.h"
#include "core/letters.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Type oids as in pg_type.dat: they never change. */
enum {
	TYPE_BOOL = 16,
	TYPE_BYTEA = 17,
	TYPE_CHAR = 18, /* "char" */
	TYPE_NAME = 19,
	TYPE_INT8 = 20,
	TYPE_INT2 = 21,
	TYPE_INT4 = 23,
	TYPE_TEXT = 25,
	TYPE_OID = 26,
	TYPE_JSON = 114,
	TYPE_XML = 142,
	TYPE_CIDR = 650,
	TYPE_FLOAT4 = 700,
	TYPE_FLOAT8 = 701,
	TYPE_MACADDR8 = 774,
	TYPE_MACADDR = 829,
	TYPE_INET = 869,
	TYPE_BPCHAR = 1042,
	TYPE_VARCHAR = 1043,
	TYPE_DATE = 1082,
	TYPE_TIME = 1083,
	TYPE_TIMESTAMP = 1114,
	TYPE_TIMESTAMPTZ = 1184,
	TYPE_INTERVAL = 1186,
	TYPE_TIMETZ = 1266,
	TYPE_NUMERIC = 1700,
	TYPE_UUID = 2950,
	TYPE_JSONB = 3802,
	TYPE_INT4RANGE = 3904,
	TYPE_NUMRANGE = 3906,
	TYPE_TSRANGE = 3908,
	TYPE_TSTZRANGE = 3910,
	TYPE_DATERANGE = 3912,
	TYPE_INT8RANGE = 3926,
	TYPE_XID8 = 5069
};

struct outbox_column {
	char *name; /* owned; as in the catalog */
	uint32_t type;
	struct field_type is; /* as a field */
	char *labels;	      /* owned; of an enum */
};

/* A table that holds rows. */
struct outbox_part {
	char *table; /* owned; quoted, with schema */
	uint32_t oid;
};

/* What one statement claims from: the outbox itself, or a partition of it by hash. Where that is
 * partitioned again, by whatever, its rows lie in several parts. */
struct outbox_leaf {
	char *table; /* owned; quoted, with schema */
	uint32_t oid;
	bool parted;		   /* the rows lie in the parts */
	struct outbox_part *parts; /* owned */
	size_t part_count;
	bool prepared;
};

/* What says that a row is published, in mark mode, as conditions on its columns; see
 * sql/0017_marks.sql. */
struct outbox_marks {
	const char *waits, *published;
	const char *marked; /* what the column is set to */
	bool timed;	    /* the column is a time */
};

/* Texts for statements that are made of that; all owned, NULL: rows are marked by published_at. */
struct outbox_words {
	char *waiting, *still, *unmarked, *published, *set, *event;
	char *where;  /* outbox.where, as it is */
	bool untimed; /* nothing says when a row was published */
};

/* What the catalog says of the table, and what the configuration makes of it. */
struct outbox_shape {
	char *table; /* owned; quoted, with schema */
	uint32_t oid, database, sequence /* 0: none */, bell /* 0: none */;
	struct outbox_leaf *leaves; /* owned; in order of oid */
	size_t leaf_count;
	bool partitioned; /* by hash: each leaf is a shard */
	uint32_t *tree;	  /* owned; all tables below the outbox, in order of oid */
	size_t tree_count;
	bool mark, position; /* how rows are settled; neither: they are deleted */
	bool competing;	     /* others take rows of the same shards */
	bool exactly_once;   /* relays that publish otherwise must not be at work */
	int hashed;	     /* the shards that a hash of the key tells apart; 0: it need not */
	size_t withhold_bytes;
	struct outbox_column *columns; /* owned */
	size_t column_count;
	const struct config_columns *names; /* borrowed */
	const char *const *fields;	    /* borrowed: column names to fetch, in order */
	size_t field_count;
	struct field_type *field_types; /* owned; of the fields */
	const char *const *keys;	/* borrowed: the columns that the key is made of */
	size_t key_count;
	const char *key_template, *topic_template; /* borrowed: of route; or NULL */
	/* Where rows stay: of the positions, into how many shards the hash of these columns tells
	 * rows apart, 0 where each leaf is one. aligns: the relay's shards are others, and are told
	 * apart so once all positions are the same. */
	int position_layout;
	char **position_keys; /* owned, each too */
	size_t position_key_count;
	bool aligns;
	struct outbox_words words;
};

/* marks is of no account unless rows are marked. where: outbox.where. */
void outbox_words_make(struct outbox_shape *shape, const struct outbox_marks *marks,
		       const char *where);
void outbox_words_free(struct outbox_words *words);

/* Statements that are prepared only, each to see whether outbox.where is a condition on rows of the
 * table; and one that says which of the names $1 (by chr(31)) are functions that give different
 * answers: one text, NULL if none. */
char *outbox_sql_where_plain(const char *table, const char *where);
char *outbox_sql_where_alone(const char *table, const char *id, const char *where);
extern const char outbox_where_functions[];

/* The columns of a claim's result. Cut, the same in every row: not NULL if more rows may be there
 * than it took though it took fewer than asked. CUT_HELD (all are int4): rows were left behind
 * because another session has locked them or one before them of their key; CUT_HELD_FULL: likewise,
 * and there are as many as it was asked for, so that the next claim finds more. */
enum { CUT_BYTES = 1, CUT_HELD = 2, CUT_HELD_FULL = 3 };
/* Places (int4): how many rows the statement meant to take; the result has fewer if a trigger kept
 * some. -1 in a row that came back unmarked. PLACES_STAY: rows are only read. Letter (int8): NULL:
 * an event. 0: its key is parked, and the claim has moved it behind the others of its key; or the
 * row is none, and says that the position has moved on. Of what was a letter: its number, negative
 * if it was rejected before. */
enum {
	CLAIM_ID,
	CLAIM_CREATED,
	CLAIM_PAYLOAD,
	CLAIM_WITHHELD,
	CLAIM_HEADERS,
	CLAIM_CUT,
	CLAIM_PLACES,
	CLAIM_LETTER,
	CLAIM_FIELDS
};
enum { PLACES_STAY = -2 };

void outbox_shape_free(struct outbox_shape *shape);
const struct outbox_column *outbox_shape_column(const struct outbox_shape *shape, const char *name);

/* Whether every mapped column is there and of a type the relay can publish. */
bool outbox_shape_check(const struct outbox_shape *shape, struct error *err);

/* True if a field of this type is fetched in binary and made text by the relay. */
bool outbox_type_is_native(uint32_t type);

/* Statements on one leaf. Where shards are told apart by a hash, a last parameter of claims, gauges
 * and what is left says which are meant, as int8[]. What is settled may be of any. "held" is an
 * int8[] or NULL: rows of these keys, or of these ids where there is no order, are left out.
 *
 * The claim: $1 first id, $2 rows, $3 bytes, $4 held; fails at a row whose text is much longer than
 * what is stored. Exact: takes any row, one at a time: $1 first id, $2 held. */
char *outbox_sql_claim(const struct outbox_shape *shape, size_t leaf, bool exact);
/* The same where no letter is there to wait behind; takes nothing where one is. */
char *outbox_sql_claim_plain(const struct outbox_shape *shape, size_t leaf);
/* Where rows stay, the one with this id: $1, $2 NULL. */
char *outbox_sql_claim_one(const struct outbox_shape *shape, size_t leaf);
/* One boolean: whether one is, in whatever shard. */
char *outbox_sql_any_aside(const struct outbox_shape *shape);
/* The row that an exact claim with these parameters would take, in the columns ROW_*; locks it. */
char *outbox_sql_suspect(const struct outbox_shape *shape, size_t leaf);
/* $1 int8[] ids, $2 text[] event ids: those that are still to be settled, in the columns ROW_*. */
char *outbox_sql_still(const struct outbox_shape *shape, size_t leaf);
/* Key: its hash, or the id where there is no order. Of what is still there also: the key in words,
 * cut short, and what changes whenever the row is changed. */
enum { ROW_ID, ROW_IDENTITY, ROW_KEY, ROW_NAME, ROW_VERSION };
char *outbox_sql_settle(const struct outbox_shape *shape,
			size_t leaf); /* $1 int8[] ids, $2 text[] event ids */
/* $1, $2 as above, $3 text[] reasons, $4 text[] errors, $5 text[] what it is held for, or NULL.
 * $6 bool: whether copies of those rejected are owed. extra: with the columns that have no place of
 * their own in a dead letter; fails at a value that jsonb cannot hold. */
char *outbox_sql_dead_letter(const struct outbox_shape *shape, size_t leaf, bool extra);

/* Statements on the letters of the shards that are meant, which are the last parameter if they have
 * to be told apart. Those that are due, $1 rows, $2 bytes, $3 text[] topics
 * that are left out, $4 text[] topics of which one is enough: marks them as attempted; takes them,
 * in the columns CLAIM_*. */
char *outbox_sql_letters_attempt(const struct outbox_shape *shape);
char *outbox_sql_letters_claim(const struct outbox_shape *shape);
/* What operators have asked for: edits; then those that are discarded. */
char *outbox_sql_letters_edit(const struct outbox_shape *shape);
char *outbox_sql_letters_discard(const struct outbox_shape *shape);
/* One row in the order of LETTERS_*: whether anything is due or asked for, but of the topics $1;
 * what waits for topics, and dead letters, each counted up to the cap of the gauges; and of the
 * keys whose hash is $2 or above, as many as the cap and one, what is parked. A second call goes on
 * at LETTERS_NEXT. There is a column for each reason, in their order. */
char *outbox_sql_letters_gauges(const struct outbox_shape *shape);
enum {
	LETTERS_DUE,
	LETTERS_FOR_TOPICS,
	LETTERS_AGE,  /* of the oldest of these; NULL: not known */
	LETTERS_NEXT, /* NULL: all parked keys have been looked at */
	LETTERS_PARKED_EVENTS,
	LETTERS_DEAD,
	LETTERS_DEAD_BY_REASON,
	LETTERS_PARKED_KEYS = LETTERS_DEAD_BY_REASON + REJECT_REASONS,
	LETTERS_PARKED_AGE,
	LETTERS_PARKED_BY_REASON
};
/* Whosever they are: $1 int8[] numbers are published; or $1 are refused, with $2 text[] reasons, $3
 * text[] errors, $4 text[] what they are held for, $5 bool whether copies are owed. */
char *outbox_sql_letters_settle(void);
char *outbox_sql_letters_refused(void);
/* $1 int8[] ids, $2 text[] event ids: where such a letter parks its key, all others of its key wait
 * for that, and no longer for their topics. */
char *outbox_sql_letters_join(const struct outbox_shape *shape);

/* Statements on the copies that letters of these shards are owed, in the order of their rejects.
 * Takes some, $1 rows, $2 bytes, for $3 the topic, from $4 the outbox in words: the columns
 * CLAIM_*, the fields, behind them COPY_*, and which letter is the first (int8). Whether there are
 * any. */
char *outbox_sql_copies_claim(const struct outbox_shape *shape);
char *outbox_sql_copies_owed(const struct outbox_shape *shape);
/* Whosever they are, $1 int8[] numbers of letters are owed none any more, unless they were rejected
 * more often than $2 text[] since. */
char *outbox_sql_copies_settle(void);

char *outbox_sql_gauges(const struct outbox_shape *shape, size_t leaf); /* $1 first id */
char *outbox_sql_purge(const struct outbox_shape *shape, size_t leaf, int64_t retention_ms);

/* Where shape.aligns: whether all that was prepared is of shards that are over. */
char *outbox_sql_take_up(const struct outbox_shape *shape);
/* Deletes notes of rows that are settled ahead of the position, and that no claim comes to. */
char *outbox_sql_forget_ahead(const struct outbox_shape *shape, size_t leaf);

/* $1 first id, $2 held: the next id. */
char *outbox_sql_left(const struct outbox_shape *shape, size_t leaf);

/* What tells session "a" of pg_stat_activity apart from others that have or had its pid: when the
 * backend started, and, since a pooler hands a backend on, the client's name. NULL of another
 * role's. */
#define OUTBOX_SQL_START                                                                           \
	"((extract(epoch FROM a.backend_start) * 1000000)::int8 # "                                \
	"hashtextextended(a.application_name, 0))"

/* One row in the order of IDS_*. $1, $2: ids above the first, up to the second, are looked at. */
char *outbox_sql_ids(const struct outbox_shape *shape, size_t leaf);
/* Same: whether the leaf's parts are still those that the statements were made for. */
enum { IDS_LAST, IDS_SEQUENCE_FILE, IDS_FILE, IDS_FOUND, IDS_SAME };
/* The columns of outbox_sql_group: a row for each lock of a relay, and of each that another session
 * (STRANGER: words, else NULL) holds or waits for on a key of ours. */
enum {
	GROUP_KEY,
	GROUP_PID,
	GROUP_PAUSED,
	GROUP_SAME,
	GROUP_STARTED,
	GROUP_FINGERPRINT,
	GROUP_STRANGER,
	GROUP_HELD,
	GROUP_EXCLUSIVE,
	GROUP_APPLICATION,
	GROUP_CLIENT
};

/* Of what decides which shard a row is in, beside the number of shards. It is made of the
 * statement's text: a version that would hash in another way has another one. */
uint32_t outbox_sql_fingerprint(const struct outbox_shape *shape);

/* Of what the hash of a key is made of: letters of another layout are of other keys. */
uint32_t outbox_sql_key_layout(const struct outbox_shape *shape);

/* Statements on the outbox as a whole. */
char *outbox_sql_group(const struct outbox_shape *shape); /* see below */
/* An int8 that may be NULL, and whether the table's name still means the same table. */
char *outbox_sql_drawn(const struct outbox_shape *shape);
char *outbox_sql_writers(const struct outbox_shape *shape); /* rows of virtualtransaction */
char *outbox_sql_bell(const struct outbox_shape *shape);    /* $1 armed; outside a transaction */
/* Inside one too. told: outside only, with a notification to the other relays. */
char *outbox_sql_bell_off(const struct outbox_shape *shape, bool told);

/* Statements for an operator, to be pasted as they are: one that takes an event out of the outbox,
 * and an example of one that mends what was rejected for this reason; NULL if there is none.
 * identity may be NULL. */
char *outbox_sql_remove(const struct outbox_shape *shape, int64_t id, const char *identity);
char *outbox_sql_change(const struct outbox_shape *shape, int64_t id, const char *identity,
			enum reject_reason reason);

/* The gauges count so far; beyond it depth is an estimate. */
enum { GAUGE_CAP = LETTERS_EXACT, PURGE_ROWS = 5000 };

#endif
