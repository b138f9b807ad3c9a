/*
 * pg.h - one Postgres session on the event loop: libpq's pipeline mode as asks and answers
 *
 * Asks are queued and sent immediately; answers come in the order of the asks. An error that the
 * server answers to an ask is offered to refused(); unless its owner goes on, and after whatever
 * else ends a session (a closed socket, a FATAL error), failed() is called once and no answer comes
 * after it. Nothing is ever called from inside an ask. Only the Postgres layer includes this.
 *
 * DNS is the one thing that may block: libpq resolves host names synchronously.
 */
#ifndef OUTBOX_PG_H
#define OUTBOX_PG_H

#include "base/error.h"
#include "base/loop.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;

/* What ended a session, or why the server refused an ask. */
struct pg_failure {
	const char *why; /* SQLSTATE and primary message only, never a row's contents */
	/* Trying again without an operator fixing something is no use (a wrong password, a
	 * missing table). */
	bool permanent;
	char state[6]; /* SQLSTATE, "" if the server refused no ask */
	int tag;       /* then that ask's, a negative one if it was a sync */
};

struct pg_events {
	void (*connected)(void *owner);
	/* The answer to the oldest open ask; result is the handler's to PQclear or keep. */
	void (*answered)(void *owner, int tag, PGresult *result);
	/* sender: the process id of its backend. */
	void (*notified)(void *owner, const char *channel, const char *payload, int sender);
	/* The server has refused an ask and skips the rest of its group; an explicit transaction
	 * must be rolled back. True: the session goes on. Otherwise it ends with failed(). */
	bool (*refused)(void *owner, const struct pg_failure *failure);
	void (*failed)(void *owner, const struct pg_failure *failure);
};

/* Starts connecting with a libpq connection string; connected() or failed() follows. Never NULL. */
struct pg *pg_open(struct loop *loop, const char *dsn, const struct pg_events *events, void *owner);

/* Closes without ceremony; allowed from inside a callback. NULLs the pointer. */
void pg_close(struct pg **pg);

/* Parameters of one ask. Binary ones are in network order. */
struct pg_param {
	const char *value; /* NULL = SQL NULL */
	int length;	   /* for binary */
	bool binary;
};

/* Runs SQL (one statement) or, if prepared, the statement of that name. Results are binary if so
 * asked. The tag comes back with the answer. */
void pg_ask(struct pg *pg, int tag, const char *sql, const struct pg_param *params, int count,
	    bool binary_result);
void pg_ask_prepared(struct pg *pg, int tag, const char *name, const struct pg_param *params,
		     int count, bool binary_result);
void pg_prepare(struct pg *pg, int tag, const char *name, const char *sql);

/* Ends a group of asks: the server answers them together, and skips the rest of a group after an
 * error. Every ask must be followed by one sooner or later in the same callback. */
void pg_sync(struct pg *pg);

/* The backend process as the client was told at connect; a pooler tells a number of its own. */
int pg_backend(const struct pg *pg);

/* Whether the database's encoding is UTF-8. */
bool pg_is_utf8(const struct pg *pg);

/* Grows whenever something has arrived, be it a part of an answer only. */
unsigned pg_reads(const struct pg *pg);

/* An error result as words: "SQLSTATE 42P01: relation ... does not exist". */
void pg_result_error(const PGresult *result, struct error *err);

/* True for SQLSTATEs that stay until an operator fixes something. */
bool pg_state_is_permanent(const char *sqlstate);

/* 64-bit numbers in network order, as binary parameters and columns hold them. */
struct pg_int8 {
	char bytes[8];
};
struct pg_int8 pg_put_int8(int64_t value);
int64_t pg_get_int8(const char *bytes);
int32_t pg_get_int4(const char *bytes);
int16_t pg_get_int2(const char *bytes);
struct pg_param pg_param_int8(const struct pg_int8 *value);
struct pg_param pg_param_text(const char *value);

#endif
