/* SPDX-License-Identifier: ISC */
/*
 * replay.c - published rows as a source
 *
 * One statement is under way at a time; what the source is asked meanwhile is noted, and done in
 * the order of the asks. A session is opened with the functions for commands, which block, and then
 * waited for on the loop: a look at many rows of which few are meant may take minutes.
 *
 * A shadow has no last row: where it has read all, it looks for the next mark (follow.h), and the
 * fetch stays open.
 *
 * Any error ends the session. The worker then has another one opened, and what it had published is
 * settled by the batch: see replay_done.h.
 */
#include "outbox/replay.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "chunk.h"
#include "columns.h"
#include "core/pace.h"
#include "follow.h"
#include "replay_done.h"
#include "replay_rows.h"
#include "sql_replay.h"

#include <inttypes.h>
#include <stdlib.h>

enum asked {
	ASKED_NOTHING,
	ASKED_PAGE,
	ASKED_SETTLE,
	ASKED_RECONCILE,
	ASKED_LAST,   /* of a shadow: the highest id */
	ASKED_WRITERS /* and who may yet commit a lower one */
};

/* A topic that could not be used is tried again after so long, as by letters.c. */
enum { TOPIC_US = 4 * 1000 * 1000 };

/* Between two readings of the writers; and since when they are told of. */
enum { WRITERS_US = 100 * 1000, PATIENCE_US = 10 * 1000 * 1000, TOLD_US = 60 * 1000 * 1000 };

struct replay_source {
	struct source source; /* first: the rest of the program sees only this */
	struct replay_options options;
	struct replay *replay; /* borrowed */
	struct loop *loop;
	struct loop_timer *timer;
	PGconn *conn; /* owned; NULL: no session */
	struct loop_io *io;
	char *page, *last, *writers; /* owned; statements */
	struct pace pace;
	struct fetch fetch;
	/* What is to be done, in this order. */
	bool opens, settles, reconciles, rolls_back, fetches, closes;
	enum asked asked; /* what the session has not answered */
	bool dropped;	  /* the page that is under way is not wanted any more */
	bool ended;
	int64_t topic_us;     /* not sooner it reads again what waits for a topic */
	int64_t read_to;      /* the next page begins behind this id */
	int64_t batch_events; /* of the batch that was told last */
	/* What the statement that is under way makes of the replay. */
	int64_t new_position, new_published, new_rejected;
	struct replay_done done;
	struct follow follow; /* of a shadow */
	int64_t look_us;      /* not sooner it looks for rows again */
	int64_t waits_us;     /* since when it waits for writers; 0: it does not */
	struct log_limit waits_told;
};

static struct replay_source *replay_of(struct source *source)
{
	return (struct replay_source *)source;
}

/* Nothing is answered from inside a function of the source. */
static void soon(struct replay_source *own)
{
	loop_timer_set(own->timer, 0);
}

static void close_session(struct replay_source *own)
{
	loop_io_free(&own->io);
	if (own->conn != NULL)
		PQfinish(own->conn);
	own->conn = NULL;
	own->asked = ASKED_NOTHING;
	own->opens = own->settles = own->reconciles = own->rolls_back = own->fetches = false;
	own->closes = own->dropped = false;
	follow_reset(&own->follow);
	loop_timer_stop(own->timer);
}

static void lose(struct replay_source *own, const char *why, bool permanent)
{
	close_session(own);
	own->source.events->lost(own->source.owner, why, permanent);
}

/* Its words end with the connection. */
static void lose_connection(struct replay_source *own)
{
	struct error err;
	pg_lost_error(own->conn, &err);
	lose(own, err.text, false);
}

/* ---- opening a session ---- */

static void on_readable(int what, void *arg);

static void watch(struct replay_source *own)
{
	own->io = loop_io_new(own->loop, PQsocket(own->conn), LOOP_READ, on_readable, own);
}

static void open_now(struct replay_source *own)
{
	static const struct source_peers none = {false, false};
	struct error err;
	if (own->conn == NULL) {
		own->conn = pgsync_connect(&own->options.login, own->options.application, &err);
		if (own->conn == NULL || !replay_take(own->conn, own->replay->number, &err)) {
			lose(own, err.text, false);
			return;
		}
	}
	watch(own);
	own->read_to = own->replay->position;
	own->source.types = columns_types(replay_rows_shape(own->options.rows));
	own->source.events->acquired(own->source.owner, true, none);
}

/* ---- asking ---- */

static void ask(struct replay_source *own, enum asked what, const char *sql, int count,
		const int64_t *numbers, bool binary)
{
	struct pg_int8 values[4];
	const char *params[4];
	int lengths[4], formats[4];
	for (int i = 0; i < count; i++) {
		values[i] = pg_put_int8(numbers[i]);
		params[i] = values[i].bytes;
		lengths[i] = sizeof(values[i].bytes);
		formats[i] = 1;
	}
	if (PQsendQueryParams(own->conn, sql, count, NULL, params, lengths, formats, binary))
		own->asked = what;
	else
		lose_connection(own);
}

static void note_position(struct replay_source *own);
static void tell_settled(struct replay_source *own, enum asked asked);

/* A shadow writes nothing down. */
static void ask_position(struct replay_source *own, enum asked what)
{
	static const char sql[] = "UPDATE outbox_relay.replays SET position = $2::int8, published "
				  "= $3::int8, rejected = $4::int8 WHERE number = $1::int8";
	int64_t numbers[] = {own->replay->number, own->new_position, own->new_published,
			     own->new_rejected};
	if (own->options.follow == NULL) {
		ask(own, what, sql, 4, numbers, false);
		return;
	}
	note_position(own);
	tell_settled(own, what);
	soon(own);
}

/* Settling may be asked for in the same step as the next page. */
static void settle_now(struct replay_source *own)
{
	own->new_position = own->read_to;
	own->new_published = own->replay->published + own->batch_events;
	own->new_rejected = own->replay->rejected;
	ask_position(own, ASKED_SETTLE);
}

static bool is_read(const struct replay_source *own)
{
	return own->options.follow != NULL &&
	       (!own->follow.known || own->read_to >= own->follow.upto);
}

static void stop_there(struct replay_source *own)
{
	own->ended = true;
	own->options.events->ended(own->options.owner);
}

/* A shadow has read all that it knows of. The fetch stays open meanwhile. */
static void look_now(struct replay_source *own, int64_t now_us)
{
	if (own->follow.known && own->options.follow->once)
		stop_there(own);
	else if (own->look_us > now_us)
		loop_timer_set(own->timer, own->look_us - now_us);
	else if (own->follow.waiting)
		ask(own, ASKED_WRITERS, own->writers, 0, NULL, false);
	else
		ask(own, ASKED_LAST, own->last, 0, NULL, false);
}

/* Before the next page; none if this is not positive. */
static int64_t wait_us_of(const struct replay_source *own, int64_t now_us)
{
	int64_t pace_us = pace_wait_us(&own->pace, now_us), topic_us = own->topic_us - now_us;
	if (own->fetch.now)
		return 0;
	return pace_us > topic_us ? pace_us : topic_us;
}

static void fetch_now(struct replay_source *own)
{
	int64_t now_us = clock_monotonic_us(), wait_us = wait_us_of(own, now_us);
	int64_t numbers[] = {own->read_to, pace_rows(&own->pace, own->fetch.rows), own->fetch.bytes,
			     own->follow.known ? own->follow.upto : INT64_MIN};
	if (own->ended)
		return; /* the fetch stays open until the owner ends it */
	if (is_read(own) && !own->fetch.now) {
		look_now(own, now_us);
		return;
	}
	if (wait_us > 0) {
		loop_timer_set(own->timer, wait_us);
		return;
	}
	own->fetches = false;
	ask(own, ASKED_PAGE, own->page, own->options.follow != NULL ? 4 : 3, numbers, true);
}

static bool take(bool *due)
{
	bool was = *due;
	*due = false;
	return was;
}

static void proceed(void *arg)
{
	struct replay_source *own = arg;
	if (own->asked != ASKED_NOTHING)
		return;
	if (take(&own->opens)) {
		open_now(own);
	} else if (take(&own->settles)) {
		settle_now(own);
	} else if (take(&own->reconciles)) {
		ask_position(own, ASKED_RECONCILE);
	} else if (take(&own->rolls_back)) {
		own->read_to = own->replay->position;
		own->source.events->rolled_back(own->source.owner);
	} else if (own->fetches) {
		fetch_now(own);
	} else if (take(&own->closes)) {
		close_session(own);
		own->source.events->closed(own->source.owner);
	}
}

/* ---- answers ---- */

static void note_position(struct replay_source *own)
{
	own->replay->position = own->new_position;
	own->replay->published = own->new_published;
	own->replay->rejected = own->new_rejected;
	own->source.position = own->new_position;
	replay_done_forget(&own->done, own->new_position);
	own->options.events->moved(own->options.owner);
}

static struct chunk *chunk_of(struct replay_source *own, PGresult *result)
{
	PGresult **results = xcalloc(1, sizeof(PGresult *));
	results[0] = result;
	return outbox_chunk_new(results, 1, replay_rows_shape(own->options.rows));
}

/* No row is left; of a shadow, up to where it could read. */
static void end(struct replay_source *own, struct chunk *chunk)
{
	bool follows = own->options.follow != NULL;
	if (follows && own->follow.known)
		own->read_to = own->follow.upto;
	own->ended = !follows;
	if (own->fetch.now) {
		own->source.events->fetched(own->source.owner, chunk, true);
		return;
	}
	chunk->free(chunk);
	own->fetches = true;
	if (!follows)
		stop_there(own);
}

static void on_page(struct replay_source *own, PGresult *result)
{
	struct chunk *chunk = chunk_of(own, result);
	if (take(&own->dropped)) {
		chunk->free(chunk);
		return;
	}
	if (chunk->count == 0) {
		end(own, chunk);
		return;
	}
	own->read_to = chunk->events[chunk->count - 1].id;
	replay_done_leave_out(&own->done, chunk);
	own->batch_events = (int64_t)chunk->count;
	pace_took(&own->pace, own->batch_events, clock_monotonic_us());
	if (chunk->count > 0) {
		own->source.events->fetched(own->source.owner, chunk, true);
		return;
	}
	chunk->free(chunk);
	own->fetches = true;
}

static void tell_settled(struct replay_source *own, enum asked asked)
{
	if (asked == ASKED_SETTLE) {
		own->source.events->settled(own->source.owner);
		return;
	}
	own->read_to = own->replay->position;
	own->source.events->reconciled(own->source.owner);
}

/* ---- what a shadow asks besides ---- */

static void begin(struct replay_source *own)
{
	if (own->options.follow->from_now)
		own->replay->position = own->read_to = own->follow.upto;
	own->options.events->begun(own->options.owner, own->follow.upto);
}

static void tell_wait(struct replay_source *own, int64_t now_us)
{
	size_t count = own->follow.writers.count;
	if (own->waits_us == 0)
		own->waits_us = now_us;
	if (now_us - own->waits_us < PATIENCE_US ||
	    !log_limit_due(&own->waits_told, now_us, TOLD_US))
		return;
	log_fact(LOG_INFO, "shadow_waits", LOG_FIELDS(field_number("transactions", (int64_t)count)),
		 "the shadow waits for %zu transactions that write to the table and may "
		 "yet commit lower ids%s",
		 count, own->waits_told.note);
}

static void on_writers(struct replay_source *own, const struct writers *writers)
{
	int64_t now_us = clock_monotonic_us();
	bool first = !own->follow.known;
	if (!follow_read(&own->follow, writers)) {
		tell_wait(own, now_us);
		own->look_us = now_us + WRITERS_US;
		return;
	}
	own->waits_us = own->look_us = 0;
	if (first)
		begin(own);
}

static void read_writers(struct replay_source *own, const PGresult *result)
{
	struct writers writers;
	uint64_t writer;
	writers_clear(&writers);
	for (int row = 0; row < PQntuples(result); row++) {
		if (writers_parse(PQgetvalue(result, row, 0), &writer))
			writers_add(&writers, writer);
		else
			writers.overflow = true; /* another session, whoever it is */
	}
	on_writers(own, &writers);
}

static void read_last(struct replay_source *own, const PGresult *result)
{
	bool none = PQgetisnull(result, 0, 0);
	int64_t mark = none ? INT64_MIN : pgsync_number(result, 0, "id");
	if (follow_seen(&own->follow, mark))
		ask(own, ASKED_WRITERS, own->writers, 0, NULL, false);
	else
		own->look_us = clock_monotonic_us() + own->options.follow->poll_us;
}

static void on_look(struct replay_source *own, enum asked asked, PGresult *result)
{
	if (asked == ASKED_LAST)
		read_last(own, result);
	else
		read_writers(own, result);
	PQclear(result);
}

static void on_answer(struct replay_source *own, PGresult *result)
{
	enum asked asked = own->asked;
	own->asked = ASKED_NOTHING;
	if (asked == ASKED_PAGE) {
		on_page(own, result);
	} else if (asked == ASKED_LAST || asked == ASKED_WRITERS) {
		on_look(own, asked, result);
	} else {
		PQclear(result);
		note_position(own);
		tell_settled(own, asked);
	}
	soon(own);
}

static void fail(struct replay_source *own, PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	bool permanent = state != NULL && pg_state_is_permanent(state);
	struct error err;
	if (state != NULL)
		pg_result_error(result, &err);
	else
		pg_lost_error(own->conn, &err);
	PQclear(result);
	lose(own, err.text, permanent);
}

static void take_answer(struct replay_source *own)
{
	PGresult *result = PQgetResult(own->conn), *more;
	ExecStatusType status = PQresultStatus(result);
	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
		fail(own, result);
		return;
	}
	/* A statement has one result, and then comes nothing. */
	while ((more = PQgetResult(own->conn)) != NULL)
		PQclear(more);
	on_answer(own, result);
}

static void on_readable(int what, void *arg)
{
	struct replay_source *own = arg;
	(void)what;
	if (!PQconsumeInput(own->conn))
		lose_connection(own);
	else if (own->asked != ASKED_NOTHING && !PQisBusy(own->conn))
		take_answer(own);
}

/* ---- what the source is asked ---- */

static void open_session(struct source *source)
{
	replay_of(source)->opens = true;
	soon(replay_of(source));
}

static void available(struct source *source, bool yes)
{
	(void)source;
	(void)yes;
}

static void fetch(struct source *source, const struct fetch *fetch)
{
	replay_of(source)->fetch = *fetch;
	replay_of(source)->fetches = true;
	soon(replay_of(source));
}

/* A page is all of its batch, so nothing is to be cut short. */
static void hold(struct source *source, bool keeps)
{
	(void)source;
	(void)keeps;
}

static void settle(struct source *source)
{
	replay_of(source)->settles = true;
	soon(replay_of(source));
}

static void roll_back(struct source *source)
{
	struct replay_source *own = replay_of(source);
	own->fetches = own->ended = false;
	own->dropped = own->asked == ASKED_PAGE;
	own->rolls_back = true;
	soon(own);
}

/* Whatever the policy is: what is rejected is left out. The position stays before what is deferred,
 * and the page behind it has the same events again: nothing would come of reading it at once. */
static void reconcile(struct source *source, const struct batch *batch, enum reject_policy policy)
{
	struct replay_source *own = replay_of(source);
	(void)policy;
	own->new_position = replay_done_take(&own->done, batch, own->replay->position);
	own->new_published = own->replay->published + (int64_t)batch->delivered;
	own->new_rejected = own->replay->rejected + (int64_t)batch->rejected;
	if (batch->deferred > 0)
		own->topic_us = clock_monotonic_us() + TOPIC_US;
	own->reconciles = true;
	soon(own);
}

static void close_when_done(struct source *source)
{
	replay_of(source)->closes = true;
	soon(replay_of(source));
}

static void drop(struct source *source)
{
	close_session(replay_of(source));
}

/* ---- making one ---- */

static const struct source_ops source_ops = {
    .open = open_session,
    .available = available,
    .fetch = fetch,
    .hold = hold,
    .settle = settle,
    .roll_back = roll_back,
    .reconcile = reconcile,
    .close = close_when_done,
    .drop = drop,
};

static void make_statements(struct replay_source *own)
{
	const struct outbox_shape *shape = replay_rows_shape(own->options.rows);
	if (own->options.follow == NULL) {
		own->page = outbox_sql_replay_page(shape, &own->options.selection,
						   replay_rows_settled(own->options.rows),
						   own->replay->last_id);
		return;
	}
	own->page = outbox_sql_follow_page(shape);
	own->last = outbox_sql_follow_last(shape);
	own->writers = outbox_sql_follow_writers(shape);
}

struct source *replay_source_new(struct loop *loop, const struct replay_options *options,
				 PGconn *conn, const struct source_events *events, void *owner)
{
	struct replay_source *own = xcalloc(1, sizeof(*own));
	own->source = (struct source){.ops = &source_ops, .events = events, .owner = owner};
	/* One shard, which is ours. */
	shards_clear(&own->source.shards, 1);
	own->source.shards.owned[0] = true;
	own->options = *options;
	own->replay = options->replay;
	own->loop = loop;
	own->timer = loop_timer_new(loop, proceed, own);
	own->conn = conn;
	own->pace.rate = options->replay->rate;
	make_statements(own);
	return &own->source;
}

void replay_source_free(struct source **source)
{
	struct replay_source *own = replay_of(*source);
	if (*source == NULL)
		return;
	close_session(own);
	loop_timer_free(&own->timer);
	replay_done_forget(&own->done, INT64_MAX);
	free(own->page);
	free(own->last);
	free(own->writers);
	free(own);
	*source = NULL;
}
