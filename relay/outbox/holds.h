/* SPDX-License-Identifier: ISC */
/*
 * holds.h - rows that do not go, and the keys that wait behind them
 *
 * A row whose DELETE (or UPDATE, in mark mode) fails or is without effect cannot be published: it
 * would be published again and again. Claims leave out its key, so that order is kept, and take all
 * others. The row is tried again from time to time; once it can go, its hold is released. Released
 * holds stay in force until a claim begins at the first id again: only then are the row and what
 * has come after it taken in their order.
 *
 * A row that was rejected, and is not to be a dead letter, is held likewise. Whether it is accepted
 * now only shows if it is published: it is due to be tried alone once it has changed, and from time
 * to time, since the cause may lie elsewhere. Nothing that comes before it may wait behind it.
 *
 * Pure. Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_HOLDS_H
#define OUTBOX_OUTBOX_HOLDS_H

#include "core/event.h"

/* So many rows can be held; claims compare each row's key with those of all. */
enum { HOLDS_MAX = 1000 };

/* What was rejected is published again so often at most, unless it was changed: the broker writes
 * into its log too. */
enum { HOLDS_TRY_US = 10 * 1000 * 1000 };

struct outbox_hold {
	int64_t id, key; /* key: the hash of its key, as claims compute it */
	char *identity;	 /* owned; NULL: the row has none */
	char *why;	 /* owned; words */
	size_t leaf;
	bool published; /* Kafka has it: the row is only to go */
	bool released;
	/* Of a rejected row: */
	enum reject_reason reason; /* REJECT_NONE: it was not */
	char *name;		   /* owned; its key, cut short, or NULL */
	char *version;		   /* owned; differs from that of the row once it was changed */
	int64_t tried_us;	   /* when it was last claimed */
	bool due;		   /* to be tried again */
	bool trying;		   /* the transaction that is open has claimed it alone */
};

struct outbox_holds {
	struct outbox_hold items[HOLDS_MAX];
	size_t count; /* those released too */
	size_t released;
	size_t cursor; /* the next to be tried again */
};

/* Takes a copy of identity and why. False if there is no room. One that is there is kept, with the
 * new words. */
bool outbox_holds_add(struct outbox_holds *holds, const struct outbox_hold *hold);
struct outbox_hold *outbox_holds_find(struct outbox_holds *holds, int64_t id, const char *identity);

/* A rejected row was seen in this version, with this key, now: it may be due. False if it has
 * another key, or lies in another partition: others may come before it there, so that it is not to
 * be tried alone. */
bool outbox_holds_seen(struct outbox_hold *hold, const struct outbox_hold *row, int64_t now_us);

/* The session is lost: what was due, or tried, is tried once it was seen again. */
void outbox_holds_doubt(struct outbox_holds *holds);

/* The row to be tried alone, or NULL: none while the end of another try is not known. all: it must
 * not go ahead of any other that is held; otherwise of none of its key. */
struct outbox_hold *outbox_holds_due(struct outbox_holds *holds, bool all);

/* It is claimed alone, and no other one is any more. */
void outbox_holds_try(struct outbox_holds *holds, struct outbox_hold *hold, int64_t now_us);

/* The one that is claimed alone, or NULL. */
struct outbox_hold *outbox_holds_tried(struct outbox_holds *holds);

/* No row is any more. */
void outbox_holds_end_try(struct outbox_holds *holds);

/* The row can go, or has gone. */
void outbox_holds_release(struct outbox_holds *holds, struct outbox_hold *hold);

/* It is another relay's. Should it come back, all that waits is looked at. */
void outbox_holds_forget(struct outbox_holds *holds, struct outbox_hold *hold);

/* Forgets those that were released: a claim begins at the first id. */
void outbox_holds_drop_released(struct outbox_holds *holds);

/* The next to be tried again, in turn; NULL if none is left to try. */
struct outbox_hold *outbox_holds_next(struct outbox_holds *holds);

/* Still in force and not released. */
size_t outbox_holds_waiting(const struct outbox_holds *holds);

/* What claims leave out, as an int8[]: keys, or ids where there is no order to keep. malloc'd; NULL
 * if nothing is held. */
char *outbox_holds_text(const struct outbox_holds *holds, bool by_id);

void outbox_holds_clear(struct outbox_holds *holds);

#endif
