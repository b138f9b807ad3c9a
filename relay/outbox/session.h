/* SPDX-License-Identifier: ISC */
/*
 * session.h - the one session of an outbox: its transaction, its statements, and whose each answer
 * is
 *
 * The parts of the source ask through it and get the answers to what they have asked. It knows none
 * of them: each joins with its functions, and tells tags that mean something to it alone. Answers
 * come in the order of the asks.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_SESSION_H
#define OUTBOX_OUTBOX_SESSION_H

#include "config.h"
#include "core/source.h"
#include "outbox/sql.h"
#include "postgres.h"

struct session;

/* What a part of the source does when the session has something for it. */
struct asker_ops {
	/* Takes the result. */
	void (*answered)(void *part, int tag, PGresult *result);
	/* The server has refused an ask, see pg_events. False, or NULL: the session ends. */
	bool (*refused)(void *part, const struct pg_failure *failure);
	/* The session is gone: what was under way is to be forgotten. May be NULL. */
	void (*lost)(void *part);
};

/* A part's place in the session. */
struct asker {
	struct session *session;
	int number;
};

enum { SESSION_ASKERS_MAX = 20 };

/* The tag of what has no answer worth telling; a part's own begin above it. */
enum { TAG_IGNORE };

/* What the session tells its owner. */
struct session_events {
	void (*connected)(void *owner);
	void (*notified)(void *owner, const char *payload, int sender);
	/* Something has arrived. False: the session was given up meanwhile. */
	bool (*heard)(void *owner);
	/* The transaction's end was asked for. */
	void (*ended)(void *owner);
	/* The session is gone, and its parts have forgotten it. permanent: trying again is no use.
	 */
	void (*gone)(void *owner, bool permanent, const char *why);
};

/* config is borrowed, and read at every connect. */
struct session *session_new(struct loop *loop, const struct config *config,
			    const struct session_events *events, void *owner);
void session_free(struct session **session);
struct asker session_join(struct session *session, const struct asker_ops *ops, void *part);

/* ---- whether there is one ---- */

void session_open(struct session *session);
/* Closes it without a word to the owner. Does nothing if there is none. */
void session_close(struct session *session);
/* Closes it and tells why. */
void session_give_up(struct session *session, bool permanent, const char *why);
/* Likewise, to read anew what has changed: that is no outage. session_renews tells it, until the
 * next session is opened. */
void session_renew(struct session *session, const char *why);
bool session_renews(const struct session *session);

/* It is set up: from now on it can lose something. */
void session_serve(struct session *session);
bool session_serves(const struct session *session);

/* As the configuration has it now. It borrows from it. */
struct pg_login session_login(const struct session *session);

/* The backend's process; told by who has asked, where a pooler makes one up. */
int session_backend(const struct session *session);
void session_set_backend(struct session *session, int backend);

/* From now on the backend is compared with this mark (postgres.h): at the begin of each
 * transaction, before its answers, and at each session_compare. Another one ends the session. */
void session_watch(struct session *session, const char *mark);
/* Asks the server something that costs nothing; and, if the session is watched, who it is. */
void session_compare(struct session *session);
bool session_is_utf8(const struct session *session);
unsigned session_reads(const struct session *session);

/* ---- the table ---- */

const struct config *session_config(const struct session *session);
const struct outbox_shape *session_shape(const struct session *session);
/* A new one, empty, to be filled in by the caller, who alone writes it. */
struct outbox_shape *session_new_shape(struct session *session);

/* The shards that are ours as a parameter, and the leaves that have them. */
void session_own(struct session *session, const struct shards *shards);
size_t session_own_count(const struct session *session);
size_t session_own_leaf(const struct session *session, size_t index);
const struct shards *session_shards(const struct session *session);

/* ---- asks ---- */

/* Each group of asks ends with one. */
void session_sync(struct session *session);

/* One statement; one that was prepared under this name. */
void session_ask_text(const struct asker *asker, int tag, const char *sql,
		      const struct pg_param *params, int count);
void session_ask(const struct asker *asker, int tag, const char *name,
		 const struct pg_param *params, int count, bool binary);
/* Takes the text. */
void session_prepare(const struct asker *asker, int tag, const char *name, char *sql);
void session_prepare_leaf(const struct asker *asker, int tag, const char *name, size_t leaf,
			  char *sql);

/* The statements of a leaf are known by its number. */
void session_ask_leaf(const struct asker *asker, int tag, const char *name, size_t leaf,
		      const struct pg_param *params, int count, bool binary);
/* Settling is by identity, of what was published or rejected: in every leaf, whoever owns it by
 * now. All have to be prepared. */
void session_ask_all_leaves(const struct asker *asker, int tag, const char *name,
			    const struct pg_param *params, int count);
/* The same of each leaf that is ours, for the shards that are meant. params has room for one more.
 */
void session_ask_own_leaves(const struct asker *asker, int tag, const char *name,
			    struct pg_param *params, int count, bool binary);
/* Adds the shards that are meant, where a statement asks for them; the new count. */
int session_param_mine(const struct session *session, struct pg_param *params, int count);
/* Likewise of statements that belong to no leaf. */
int session_param_shards(const struct session *session, struct pg_param *params, int count);

/* ---- the transaction ---- */

/* Nothing is put off to its end if it is guarded: triggers or constraints may refuse a row there.
 */
void session_begin(struct session *session);
void session_guard(struct session *session);
bool session_in_transaction(const struct session *session);
void session_commit(const struct asker *asker, int tag);
/* True if COMMIT was answered; otherwise the session is given up. Takes the result. */
bool session_committed(struct session *session, PGresult *result);
/* Rolls back; then is told once that is done. */
void session_roll_back(struct session *session, void (*then)(void *part), void *part);
/* Something has gone wrong: what is answered before the ROLLBACK is of no account. */
void session_abort(struct session *session, void (*then)(void *part), void *part);
/* Likewise of a ROLLBACK that was asked for already. */
void session_ignore(struct session *session);

/* Whether an error passes by itself and says nothing of a row, see passing_still. To be called once
 * for each error. */
bool session_passes(struct session *session, const char *sqlstate);

#endif
