/* SPDX-License-Identifier: ISC */
/*
 * postgres.h - sessions with Postgres: on the event loop for the relay, blocking for the commands
 */
#ifndef OUTBOX_POSTGRES_H
#define OUTBOX_POSTGRES_H

#include "base/error.h"
#include "base/loop.h"
#include "base/secret.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- connection strings (postgres/dsn.c) ----
 *
 * Thread: any, unless something else is said. */

/* what names the string in err, "database.dsn". Reads the service file if the string or the
 * environment names a service; resolves no host name. err never holds a password. */
bool pg_dsn_check(const char *what, const char *dsn, struct error *err);

/* Whether the string itself holds a password. */
bool pg_dsn_has_password(const char *dsn);

/* ---- why a server's certificate was not accepted (postgres/tls.c) ----
 *
 * Thread: any, the same for both. */

/* To be called before a connection is begun. */
void pg_tls_begin(void);
/* libpq's words of a connection that has just failed, with OpenSSL's reason where it is about the
 * server's certificate; malloc'd. */
char *pg_tls_words(const PGconn *conn);

/* ---- connections that did not come about (postgres/refusal.c) ----
 *
 * words are libpq's, of all attempts; with PQERRORS_VERBOSE more of them are understood. Pure.
 * Thread: any. */

struct pg_refusal {
	bool permanent;	    /* trying again is no use until somebody acts */
	const char *remedy; /* what to do; NULL: the words say it, or nothing is to be done */
};
struct pg_refusal pg_refusal_of(const char *words);

/* The words in a line, and the remedy behind them. */
void pg_refusal_print(const char *words, struct error *err);

/* Whether this machine lacks something; then the words say nothing of the string. */
bool pg_refusal_is_shortage(const char *words);

/* True for SQLSTATEs that stay until an operator fixes something. */
bool pg_state_is_permanent(const char *sqlstate);

/* How to connect. What it points to is borrowed. */
struct pg_login {
	const char *dsn;
	struct secret_source password; /* may be of nowhere */
	bool pooled; /* a pooler may be in between that gives each client a session of its own */
};

/* ---- what every session has in common (postgres/settings.c) ----
 *
 * Text that the server makes for a session is published, hashed into shards and compared, so no
 * setting that changes it may come from the role, the database, the environment or the dsn.
 *
 * Thread: any, unless something else is said. */

/* What is wrong with a pooler in between, and what to do. */
#define PGSESSION_POOLER "there is a connection pooler between the relay and Postgres"
#define PGSESSION_POOLER_REMEDY                                                                    \
	"the relay needs a session of its own (its lock and LISTEN live there): point "            \
	"database.dsn at Postgres itself, or let the pooler give it one (pool_mode = session) "    \
	"and set database.pooler = \"session\""

/* The same where database.pooler allows one. */
#define PGSESSION_SHARED                                                                           \
	"the connection pooler between the relay and Postgres gives it no session of its own "     \
	"(transaction or statement mode)"
#define PGSESSION_SHARED_REMEDY                                                                    \
	"set pool_mode = session for this database or role, or point database.dsn at Postgres "    \
	"itself"

/* Removes from the environment what libpq would send after our start-up options, and so instead of
 * them. Thread: main, before there is a second one. */
void pgsession_clean_environment(void);

/* What dsn, service file and environment say of one keyword, as libpq merges them; malloc'd, "" if
 * none says anything. Connects to nothing. */
char *pgsession_keyword(const char *dsn, const char *keyword);

/* The value of the keyword "options": the user's own ones, then ours, which win; malloc'd. Through
 * a pooler only the user's own. */
char *pgsession_options(const struct pg_login *login);

/* Whether libpq's words say that start-up options were refused. Only poolers do that. */
bool pgsession_is_refused(const char *words);

/* The first statement of a session, and whether its answer says that no pooler is in between;
 * otherwise false and err. The statement is safe in any session. backend is the process as the
 * client learned it at connect; 0: a pooler that passes the start-up options on will do. */
extern const char pgsession_question[];
bool pgsession_check(const PGresult *answer, int backend, struct error *err);

/* Through a pooler a session is known by its mark, a setting with a random value: another backend
 * does not have it, and the reset before a backend goes to another client (DISCARD ALL) takes it
 * away. It means nothing to other clients, so it may be set before the pooler is known to be no
 * danger. Otherwise nothing is: in transaction mode it would stay behind. */
enum { PGSESSION_MARK_SIZE = 17 };
void pgsession_new_mark(char mark[PGSESSION_MARK_SIZE]);

/* $1: the mark. Answers the backend's process, the mark, application_name. */
extern const char pgsession_mark[];
/* Answers the mark that the backend has, or NULL. */
extern const char pgsession_marked[];
bool pgsession_is_marked(const PGresult *answer, const char *mark);

/* The settings that are start-up options otherwise, as one statement; malloc'd. $1: the mark, $2:
 * application_name. */
char *pgsession_settings(void);

/* Whether the server's words are a pooler's that gives out sessions by statements. */
bool pgsession_is_shared(const char *words);

/* ---- one session on the event loop (postgres/pg.c) ----
 *
 * libpq's pipeline mode as asks and answers.
 * Asks are queued and sent immediately; answers come in the order of the asks. An error that the
 * server answers to an ask is offered to refused(); unless its owner goes on, and after whatever
 * else ends a session (a closed socket, a FATAL error), failed() is called once and no answer comes
 * after it. Nothing is ever called from inside an ask.
 *
 * DNS is the one thing that may block: libpq resolves host names synchronously.
 *
 * Thread: loop. */

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
	/* sender: the process id of its backend. NULL: it listens to nothing. */
	void (*notified)(void *owner, const char *channel, const char *payload, int sender);
	/* The server has refused an ask and skips the rest of its group; an explicit transaction
	 * must be rolled back. True: the session goes on. Otherwise, or if NULL, it ends with
	 * failed(). */
	bool (*refused)(void *owner, const struct pg_failure *failure);
	void (*failed)(void *owner, const struct pg_failure *failure);
};

/* Starts connecting, with the password that its source gives now; connected() or failed() follows.
 * login is copied, its password's source borrowed until then. Never NULL. */
struct pg *pg_open(struct loop *loop, const struct pg_login *login, const struct pg_events *events,
		   void *owner);

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

/* The backend process as the client learned it at connect; a pooler reports a number of its own,
 * until the server's is told here. */
int pg_backend(const struct pg *pg);
void pg_set_backend(struct pg *pg, int backend);

/* Whether the database's encoding is UTF-8. */
bool pg_is_utf8(const struct pg *pg);

/* Grows whenever something has arrived, be it a part of an answer only. */
unsigned pg_reads(const struct pg *pg);

/* An error result as words: "SQLSTATE 42P01: relation ... does not exist". */
void pg_result_error(const PGresult *result, struct error *err);

/* Why a connection was lost: what was said first. The connection's own words end with it. */
void pg_lost_error(const PGconn *conn, struct error *err);

/* Numbers in network order, as binary parameters and columns hold them. Thread: any. */
struct pg_int8 {
	char bytes[8];
};
struct pg_int8 pg_put_int8(int64_t value);
int64_t pg_get_int8(const char *bytes);
int32_t pg_get_int4(const char *bytes);
int16_t pg_get_int2(const char *bytes);
struct pg_param pg_param_int8(const struct pg_int8 *value);
struct pg_param pg_param_text(const char *value);

/* ---- blocking use, for commands (postgres/sync.c) ----
 *
 * Results are in text format. An error's words are SQLSTATE and primary message only: DETAIL and
 * CONTEXT may hold rows.
 *
 * Thread: main, of a process without a loop. */

/* Connects with the settings that every session has. A pooler is refused, or, where the login
 * allows one, it is refused if it shares sessions. NULL and err. */
PGconn *pgsync_connect(const struct pg_login *login, const char *application_name,
		       struct error *err);

/* The backend process; of a session through a pooler the server's. */
int pgsync_backend(const PGconn *conn);

/* The first value of a statement's last result, in value; false if it fails or takes longer. */
bool pgsync_within(PGconn *conn, const char *sql, int wait_ms, char *value, size_t size);

/* From now on a statement may take as long as it needs. Otherwise the server ends it after 8
 * seconds, or 2 for a lock, and an answer that never comes is waited for 10 seconds. What waited
 * for a lock fails with words that say who holds it. */
void pgsync_be_patient(void);

/* Runs one statement with text parameters. what says what it is for: "reading the registry". NULL
 * and err on failure; the caller clears the result. */
PGresult *pgsync_query(PGconn *conn, const char *what, const char *sql, int count,
		       const char *const *params, struct error *err);

/* Runs a script of statements without parameters, as one transaction unless it says otherwise. */
bool pgsync_script(PGconn *conn, const char *what, const char *sql, struct error *err);

/* One value of a result. NULL for SQL NULL; 0 and false likewise. */
const char *pgsync_text(const PGresult *result, int row, const char *column);
int64_t pgsync_number(const PGresult *result, int row, const char *column);
bool pgsync_bool(const PGresult *result, int row, const char *column);

/* The SQLSTATE of the last failed pgsync_query or pgsync_script on any connection; "" if there was
 * none (connection lost). Holds until the next one. */
const char *pgsync_sqlstate(void);

/* That was for want of a lock, within the time for it or since others wait for each other: the same
 * may go later. */
bool pgsync_lacked_lock(void);

/* What to do about the last pgsync_connect that failed: its words end with it, behind "; ". NULL if
 * nothing in particular. Holds until the next one. */
const char *pgsync_remedy(void);

#endif
