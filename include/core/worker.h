/* SPDX-License-Identifier: ISC */
/*
 * worker.h - a relay at work on its shards: carries out what the engine says, through a source and
 * a sink
 *
 * Holds the batch, routes its events, counts. Everything it touches comes in as a table of
 * functions, so that the simulator runs this very code. Thread: loop only.
 */
#ifndef OUTBOX_WORKER_H
#define OUTBOX_WORKER_H

#include "core/encode.h"
#include "core/engine.h"
#include "core/metrics.h"
#include "core/route.h"
#include "core/sink.h"
#include "core/source.h"

/* The last one only has the log say that an outage lasts. */
enum worker_timer { WORKER_TIMER_WAKE, WORKER_TIMER_STALL, WORKER_TIMER_OUTAGE };

/* Time, and the end. */
struct worker_world {
	int64_t (*monotonic_us)(void *arg);
	int64_t (*realtime_us)(void *arg);
	/* One-shot; a new setting replaces the old. Ends in worker_on_timer. */
	void (*set_timer)(void *arg, enum worker_timer timer, int64_t after_us);
	/* The worker has come to its end; failed: the set-up is wrong. */
	void (*stopped)(void *arg, bool failed);
	/* The engine has entered another state; may be NULL. */
	void (*changed)(void *arg);
	void *arg;
};

struct worker;

/* Source, sink, route, metrics and world are borrowed and must outlive the worker. The caller
 * passes worker_source_events and worker_sink_events, with the worker as owner, to source and sink.
 */
struct worker *worker_new(const struct engine_options *options, int64_t stall_us,
			  const struct worker_world *world, struct metrics *metrics, uint64_t seed);
void worker_free(struct worker **worker);
void worker_attach(struct worker *worker, struct source *source, struct sink *sink,
		   struct route *route);

/* Records are encoded from now on; without, they are what the route makes. Borrowed, as the route
 * is. To be called before the start. */
void worker_encode(struct worker *worker, struct encoder *encoder);

extern const struct source_events worker_source_events;
extern const struct sink_events worker_sink_events;

void worker_start(struct worker *worker);
void worker_stop(struct worker *worker, bool now);
void worker_on_timer(struct worker *worker, enum worker_timer timer);
void worker_reload(struct worker *worker, const struct engine_options *options, int64_t stall_us);

/* For so long somebody watches: the source looks up what is only for people, too. */
void worker_watch(struct worker *worker, int64_t for_us);

/* What /status, /healthz and /readyz tell. */
struct worker_status {
	const char *state; /* the name of engine */
	enum engine_state engine;
	int64_t state_us; /* how long it has been in that state */
	int64_t low_watermark;
	size_t batch_events, in_flight;
	uint64_t published;
	bool working;	     /* claiming, publishing or at rest: all is well */
	bool flapping;	     /* the database comes and goes: its returns are not told */
	bool acquired;	     /* shards are ours */
	bool unavailable;    /* none is ours for want of the sink */
	const char *standby; /* why none is ours though the database answers; "" if one is */
	const char
	    *obstacle; /* what keeps relays from shards until an operator acts; "": nothing */
	/* What the database refuses; "" if nothing. Stopped: no event can be published meanwhile.
	 */
	const char *refusal;
	bool stopped_by_refusal;
	const char *unconfirmed;	      /* what claimed events wait for, see source.h */
	const struct source_event *halted_at; /* NULL: nothing keeps all others from going out */
	const char *lost_why; /* why there is no session with the database; "" if there is one */
	size_t held_keys;     /* keys that wait behind an event that cannot be removed */
	const struct shards *shards;
	const char *trouble; /* why the sink gets no event through; "" if it does */
	bool login_refused;  /* that is about being let in (sink.h) */
	bool waiting;	     /* events wait */
	int64_t idle_us;     /* nothing has moved that long, though it might have */
	/* Since when the sink has taken nothing although it holds nothing: it waits for a topic.
	 * Negative: it does not. */
	int64_t blocked_us;
	const char *blocked_topic;  /* that topic's name, while it does */
	const char *deferred_topic; /* one that events wait for aside; "": none */
	int64_t outage_us[PEERS];   /* for how long the peer is gone; negative: it is not */
	int64_t answers_us[PEERS];  /* for how long it has answered; negative: it does not */
	/* The source's, until it is next asked or told anything. */
	const struct source_relay *relays;
	size_t relay_count;
	const struct source_action *actions;
	size_t action_count;
};
void worker_status(const struct worker *worker, struct worker_status *status);

#endif
