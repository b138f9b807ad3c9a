/* SPDX-License-Identifier: ISC */
/*
 * refusal.c - whose fault it is when a broker refuses an event: its own or the environment's
 *
 * An error of the event makes it a reject: sent again, it would fail again. An error of the
 * environment says nothing of the event: it is published again later, for as long as it takes.
 * Which is which: verdict.c.
 *
 * A broker that refuses one record of a batch refuses, in most versions, the whole batch with the
 * same error. So an error that may be an event's own fault makes candidates first; if there is more
 * than one, they are returned, and the next producer sends one record a batch until each has been
 * answered alone.
 *
 * A broker or a proxy can answer almost every error to all events alike: after a change of a
 * topic's settings, of a limit in a proxy, of a policy. So a refusal is believed only if the topic
 * takes other events. An event that was refused alone is held back while those of other keys are
 * tried. If one of them is taken, it is sent once more, and a second refusal rejects it: it was
 * refused before and after the topic took another event. If all that are tried are refused, the
 * environment is at fault: nothing is rejected, and the first event is tried again from time to
 * time. If there is no other event to try, the refused one is rejected, but only TOO_MANY - 1 of a
 * topic in a row.
 *
 * The events behind a refused one that share its key wait with it, since it may yet be published.
 *
 * In a transaction a refusal ends the whole transaction, and what was delivered in it is sent
 * again: that an event is settled is told by the commit, and not by its report. A rejected event
 * comes again, as the first of a batch, when those before it are committed; so that it need not
 * cost the same search, the verdict is remembered for a while.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "internal.h"

#include <stdlib.h>

enum {
	/* Refused events of a topic in a row that are no longer taken for bad ones each. Two may
	 * come from one faulty transaction; with three, a fault of the topic is more likely, and
	 * the cost of a wrong guess is smaller that way: events wait, and none is lost. */
	TOO_MANY = 3,
	/* So many are tried in a search for one that the topic takes. Each costs a producer. */
	TRIALS_MOST = 10,
	/* Rows may be deleted while their events are judged here, without a notice. */
	KEPT_MOST = 1000,
	/* When nothing has been given to the sink for so long and nothing is in flight, nothing
	 * more comes. */
	JUDGE_US = 300 * 1000,
	/* Verdicts that are remembered, and for how long: the topic may be mended. */
	VERDICTS_MOST = 64,
	VERDICT_US = 60 * 1000 * 1000,
};

/* Of an event that was rejected in a transaction. */
struct verdict_kept {
	int64_t id;
	const struct topic *topic; /* NULL: none is kept here */
	uint32_t key, value;	   /* hashes */
	int64_t until_us;
	enum reject_reason reason;
	rd_kafka_resp_err_t code;
};

/* The same words are not repeated in the log before this. */
static const int64_t repeat_us = 30 * INT64_C(1000000);

static struct refusal *find(struct refusals *refusals, const struct event *event)
{
	for (size_t i = 0; i < refusals->count; i++)
		if (refusals->items[i].id == event->id && refusals->items[i].topic == event->topic)
			return &refusals->items[i];
	return NULL;
}

static void forget(struct refusals *refusals, struct refusal *refusal)
{
	*refusal = refusals->items[--refusals->count];
}

static void forget_topic(struct refusals *refusals, const struct topic *topic)
{
	for (size_t i = refusals->count; i-- > 0;)
		if (refusals->items[i].topic == topic)
			forget(refusals, &refusals->items[i]);
}

static unsigned untaken(const struct refusals *refusals, const struct topic *topic)
{
	unsigned count = 0;

	for (size_t i = 0; i < refusals->count; i++)
		count += refusals->items[i].topic == topic && !refusals->items[i].again;
	return count;
}

static void blame_environment(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code)
{
	topic->refuses = true;
	forget_topic(&kafka->refusals, topic);
	kafka->incident.blamed = false;
	kafka_trouble(
	    kafka, topic,
	    "topic %s refuses every event that is tried: %s (%s). No event is rejected for "
	    "it: see the topic's settings, and what is between the relay and the "
	    "brokers%s",
	    topic->name, rd_kafka_err2name(code), rd_kafka_err2str(code),
	    kafka_advice(rd_kafka_err2name(code)));
	if (log_limit_due(&topic->refuses_logged, clock_monotonic_us(), repeat_us))
		log_fact(LOG_WARNING, "kafka_refuses",
			 LOG_FIELDS(field_text("topic", topic->name),
				    field_text("error_code", rd_kafka_err2name(code))),
			 "%s%s", kafka->trouble.text, topic->refuses_logged.note);
	kafka_break(kafka, kafka->trouble.text);
}

static void remember(struct refusals *refusals, const struct candidate *candidate)
{
	if (refusals->count == KEPT_MOST)
		refusals->count = 0;
	if (refusals->items == NULL)
		refusals->items = xcalloc(KEPT_MOST, sizeof(*refusals->items));
	refusals->items[refusals->count++] = (struct refusal){
	    .id = candidate->event->id,
	    .topic = candidate->event->topic,
	    .key = candidate->key,
	    .code = candidate->code,
	    .reason = candidate->reason,
	};
}

void kafka_single_settled(struct kafka *kafka)
{
	if (!kafka->producer.single || kafka->refusals.singles_left == 0)
		return;
	if (--kafka->refusals.singles_left == 0)
		kafka_drain(kafka, "the refused batch is sorted out: back to whole batches");
}

bool kafka_singles_are_over(struct kafka *kafka, size_t settled)
{
	size_t *left = &kafka->refusals.singles_left;

	if (!kafka->producer.single)
		return false;
	*left -= settled < *left ? settled : *left;
	return *left == 0;
}

static void word(struct error *why, const struct topic *topic, rd_kafka_resp_err_t code)
{
	error_set(why, "topic %s refused it: %s (%s)", topic->name, rd_kafka_err2name(code),
		  rd_kafka_err2str(code));
}

static struct verdict_kept *kept_of(const struct refusals *refusals, const struct event *event)
{
	for (size_t i = 0; refusals->kept != NULL && i < VERDICTS_MOST; i++)
		if (refusals->kept[i].topic == event->topic && refusals->kept[i].id == event->id)
			return &refusals->kept[i];
	return NULL;
}

static void keep_verdict(struct refusals *refusals, const struct event *event, uint32_t key,
			 enum reject_reason reason, rd_kafka_resp_err_t code)
{
	struct verdict_kept *kept = kept_of(refusals, event);

	if (refusals->kept == NULL)
		refusals->kept = xcalloc(VERDICTS_MOST, sizeof(*refusals->kept));
	if (kept == NULL)
		kept = &refusals->kept[refusals->kept_next++ % VERDICTS_MOST];
	*kept = (struct verdict_kept){
	    .id = event->id,
	    .topic = event->topic,
	    .key = key,
	    .value = kafka_hash(event->payload.data, event->payload.len),
	    .until_us = clock_monotonic_us() + VERDICT_US,
	    .reason = reason,
	    .code = code,
	};
}

/* Another try, of an event that was set aside or whose row was mended, is one. */
bool kafka_was_rejected(struct kafka *kafka, const struct event *event,
			const struct message *message, enum reject_reason *reason,
			struct error *err)
{
	const struct verdict_kept *kept = kept_of(&kafka->refusals, event);

	if (kept == NULL || event->again || clock_monotonic_us() >= kept->until_us ||
	    kept->key != kafka_hash(message->key.data, message->key.len) ||
	    kept->value != kafka_hash(event->payload.data, event->payload.len))
		return false;
	*reason = kept->reason;
	word(err, event->topic, kept->code);
	return true;
}

static void reject(struct kafka *kafka, struct event *event, uint32_t key,
		   enum reject_reason reason, rd_kafka_resp_err_t code)
{
	struct error why;

	word(&why, event->topic, code);
	if (kafka_is_transactional(kafka))
		keep_verdict(&kafka->refusals, event, key, reason, code);
	kafka->sink.events->rejected(kafka->sink.owner, event, reason, rd_kafka_err2name(code),
				     why.text);
	kafka_single_settled(kafka);
}

static void refused_alone(struct kafka *kafka, const struct candidate *candidate)
{
	struct refusals *refusals = &kafka->refusals;
	struct topic *topic = candidate->event->topic;
	struct refusal *before = find(refusals, candidate->event);

	if (before != NULL && before->again) {
		forget(refusals, before);
		reject(kafka, candidate->event, candidate->key, candidate->reason, candidate->code);
		return;
	}
	if (before == NULL)
		remember(refusals, candidate);
	kafka_return(kafka, candidate->event);
	if (topic->refuses || untaken(refusals, topic) + topic->rejected_in_row >= TRIALS_MOST)
		blame_environment(kafka, topic, candidate->code);
}

void kafka_refused(struct kafka *kafka, const struct candidate *candidate)
{
	struct refusals *refusals = &kafka->refusals;

	if (kafka->producer.single) {
		refused_alone(kafka, candidate);
		return;
	}
	if (refusals->candidates++ == 0) {
		refusals->candidate = *candidate;
		return;
	}
	if (refusals->candidates == 2)
		kafka_return(kafka, refusals->candidate.event);
	kafka_return(kafka, candidate->event);
}

void kafka_judge_soon(struct kafka *kafka)
{
	if (kafka->refusals.held_count > 0)
		loop_timer_set(kafka->refusals.judge, kafka->state == KAFKA_READY ? JUDGE_US : 0);
}

void kafka_all_reported(struct kafka *kafka)
{
	struct refusals *refusals = &kafka->refusals;
	size_t candidates = refusals->candidates;

	refusals->candidates = 0;
	if (candidates == 1)
		refused_alone(kafka, &refusals->candidate);
	else if (candidates > 1)
		refusals->singles_left = kafka->incident.returned + kafka->transaction.events;
	kafka_judge_soon(kafka);
}

void kafka_taken(struct kafka *kafka, struct topic *topic)
{
	topic->refuses = false;
	topic->rejected_in_row = 0;
	for (size_t i = 0; i < kafka->refusals.count; i++)
		if (kafka->refusals.items[i].topic == topic)
			kafka->refusals.items[i].again = true;
}

/* Whether the event must wait for the judgement on one of its key, or on itself. */
static bool must_wait(const struct refusals *refusals, const struct event *event, uint32_t key)
{
	for (size_t i = 0; i < refusals->count; i++) {
		const struct refusal *refusal = &refusals->items[i];

		if (refusal->topic == event->topic && refusal->key == key && refusal->held)
			return true;
		if (refusal->topic == event->topic && refusal->id == event->id)
			return !refusal->again;
	}
	return false;
}

bool kafka_hold_back(struct kafka *kafka, struct event *event, const struct message *message)
{
	struct refusals *refusals = &kafka->refusals;
	struct refusal *refusal;

	if (refusals->count == 0 ||
	    !must_wait(refusals, event, kafka_hash(message->key.data, message->key.len)))
		return false;
	refusal = find(refusals, event);
	if (refusal != NULL)
		refusal->held = true;
	if (refusals->held_count == refusals->held_capacity) {
		refusals->held_capacity = refusals->held_capacity * 2 + 16;
		refusals->held =
		    xrealloc(refusals->held, refusals->held_capacity * sizeof(struct event *));
	}
	refusals->held[refusals->held_count++] = event;
	kafka_judge_soon(kafka);
	return true;
}

static void return_held(struct kafka *kafka)
{
	struct refusals *refusals = &kafka->refusals;
	size_t count = refusals->held_count;

	refusals->held_count = 0;
	for (size_t i = 0; i < refusals->count; i++)
		refusals->items[i].held = false;
	for (size_t i = 0; i < count; i++)
		kafka_return(kafka, refusals->held[i]);
}

/* No event of another key is there to be tried. False if that is too many of the topic in a row. */
static bool may_reject_held(struct kafka *kafka)
{
	struct refusals *refusals = &kafka->refusals;

	for (size_t i = 0; i < refusals->count; i++) {
		struct refusal *refusal = &refusals->items[i];

		if (!refusal->held ||
		    untaken(refusals, refusal->topic) + refusal->topic->rejected_in_row < TOO_MANY)
			continue;
		blame_environment(kafka, refusal->topic, refusal->code);
		return false;
	}
	return true;
}

static void reject_held(struct kafka *kafka)
{
	struct refusals *refusals = &kafka->refusals;

	for (size_t i = 0; i < refusals->held_count;) {
		struct event *event = refusals->held[i];
		struct refusal *refusal = find(refusals, event), verdict;

		if (refusal == NULL) {
			i++;
			continue;
		}
		verdict = *refusal;
		forget(refusals, refusal);
		memmove(refusals->held + i, refusals->held + i + 1,
			(--refusals->held_count - i) * sizeof(struct event *));
		event->topic->rejected_in_row++;
		reject(kafka, event, verdict.key, verdict.reason, verdict.code);
	}
}

static bool any_goes_again(const struct refusals *refusals)
{
	for (size_t i = 0; i < refusals->count; i++)
		if (refusals->items[i].held && refusals->items[i].again)
			return true;
	return false;
}

void kafka_judge(void *arg)
{
	struct kafka *kafka = arg;
	struct refusals *refusals = &kafka->refusals;

	if (kafka->state != KAFKA_READY) {
		return_held(kafka);
		return;
	}
	if (refusals->held_count == 0 || kafka->producer.in_flight > 0 ||
	    kafka->transaction.state == TRANSACTION_BEGINS) /* others wait for that */
		return;
	if (any_goes_again(refusals)) {
		kafka_drain(kafka, "its topic took other events: a refused one is tried again");
		return;
	}
	if (!may_reject_held(kafka))
		return;
	reject_held(kafka);
	if (refusals->held_count > 0)
		kafka_drain(kafka, "a refused event is rejected: those behind it go on");
}
