/*
 * outbox_internal.h - what outbox.c and outbox_open.c share
 */
#ifndef OUTBOX_OUTBOX_INTERNAL_H
#define OUTBOX_OUTBOX_INTERNAL_H

#include "config.h"
#include "loop.h"
#include "outbox_debt.h"
#include "outbox_sql.h"
#include "pg.h"
#include "pgname.h"
#include "route.h"
#include "source.h"

enum tag {
	TAG_IGNORE,
	TAG_FACTS,
	TAG_COLUMNS,
	TAG_REGISTRY,
	TAG_LOCK,
	TAG_DRAWN,
	TAG_WRITERS,
	TAG_CLAIM,
	TAG_SETTLED,	    /* and durable */
	TAG_SETTLED_LAZILY, /* remembered as a debt */
	TAG_DURABLE,	    /* whatever was in debt is durable now */
	TAG_DEBT_PAID,	    /* settled again after a session was lost */
	TAG_WITHDRAWN,
	TAG_SET_ASIDE,
	TAG_RECOVERED,
	TAG_PURGED,
	TAG_GAUGES,
	TAG_CLOSE,
};

enum { FIELDS_MAX = ROUTE_FIELDS_MAX + 1 }; /* and the identity */

struct outbox {
	struct source source; /* first: the rest of the program sees only this */
	struct loop *loop;
	const struct config *config; /* borrowed */
	struct pgname name;
	struct pg *pg;		   /* NULL: no session */
	struct outbox_shape shape; /* of this session's table */
	const char *fields[FIELDS_MAX];
	char *owned_fields[FIELDS_MAX];
	size_t field_count;
	size_t withhold_bytes;
	int64_t drawn; /* of the reading under way */
	bool purge_full;
	int64_t stall_timeout_ms; /* as the session knows it */
	unsigned exact_claims;	  /* so many claims more are to measure; outlives the session */
	bool bare_letters;	  /* the next dead letters are to lack other columns; likewise */
	struct outbox_debt debt;  /* outlives the session */
};

/* Ends the session and tells why. */
void outbox_give_up(struct outbox *outbox, bool permanent, const char *why);

/* The way from a connection to a session that serves: outbox_open_connected is to be called once
 * connected, outbox_open_answered for every answer with a tag up to TAG_REGISTRY. At its end the
 * shard's lock has been asked for. */
void outbox_open_connected(struct outbox *outbox);
void outbox_open_answered(struct outbox *outbox, enum tag tag, PGresult *result);
void outbox_open_set_stall_timeout(struct outbox *outbox); /* to be synced */
void outbox_ask_for_lock(struct outbox *outbox);

#endif
