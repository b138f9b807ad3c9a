/*
 * shard.h - one shard at work: carries out what the engine says, through a source and a sink
 *
 * Holds the batch, routes its events, counts. Everything it touches comes in as a table of
 * functions, so that the simulator runs this very code. Thread: loop only.
 */
#ifndef OUTBOX_SHARD_H
#define OUTBOX_SHARD_H

#include "engine.h"
#include "metrics.h"
#include "route.h"
#include "sink.h"
#include "source.h"

enum shard_timer { SHARD_TIMER_WAKE, SHARD_TIMER_STALL };

/* Time, and the end. */
struct shard_world {
	int64_t (*monotonic_us)(void *arg);
	int64_t (*realtime_us)(void *arg);
	/* One-shot; a new setting replaces the old. Ends in shard_on_timer. */
	void (*set_timer)(void *arg, enum shard_timer timer, int64_t after_us);
	/* The shard has come to its end; failed: an event was rejected and the policy is to halt.
	 */
	void (*stopped)(void *arg, bool failed);
	/* The engine has entered another state; may be NULL. */
	void (*changed)(void *arg);
	void *arg;
};

struct shard;

/* Source, sink, route, metrics and world are borrowed and must outlive the shard. The caller passes
 * shard_source_events and shard_sink_events, with the shard as owner, to source and sink. */
struct shard *shard_new(const struct engine_options *options, int64_t stall_us,
			const struct shard_world *world, struct metrics *metrics, uint64_t seed);
void shard_free(struct shard **shard);
void shard_attach(struct shard *shard, struct source *source, struct sink *sink,
		  struct route *route);

extern const struct source_events shard_source_events;
extern const struct sink_events shard_sink_events;

void shard_start(struct shard *shard);
void shard_stop(struct shard *shard, bool now);
void shard_on_timer(struct shard *shard, enum shard_timer timer);
void shard_reload(struct shard *shard, const struct engine_options *options, int64_t stall_us);

/* What /status, /healthz and /readyz tell. */
struct shard_status {
	const char *state;
	int64_t floor;
	size_t batch_events, outstanding;
	uint64_t published;
	bool working;	 /* claiming, publishing or at rest: all is well */
	bool acquired;	 /* the shard is ours */
	bool standby;	 /* another relay has it */
	bool waiting;	 /* events wait */
	int64_t idle_us; /* since something last moved, or since events began to wait */
	/* Since when the sink has taken nothing although it holds nothing: it waits for a topic.
	 * Negative: it does not. */
	int64_t blocked_us;
};
void shard_status(const struct shard *shard, struct shard_status *status);

#endif
