/*
 * refusal.c - whose fault it is when a broker refuses an event: its own or the environment's
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
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "internal.h"
#include "verdict.h"

#include <stdlib.h>

enum {
	/* Refused events of a topic in a row that are no longer taken for bad ones each. Two may
	 * come from one faulty transaction; with three, a fault of the topic is more likely, and
	 * the cost of a wrong guess is smaller that way: events wait, and none is lost. */
	TOO_MANY = 3,
	/* So many are tried in a search for one that the topic takes. Each costs a producer. */
	TRIALS_MOST = 10,
	/* Rows may be deleted while they are looked at here, and nothing tells. */
	KEPT_MOST = 1000,
	/* When so long nothing is given to the sink and nothing is in flight, nothing more comes.
	 */
	JUDGE_US = 300 * 1000,
};

uint32_t kafka_key_hash(const void *key, size_t len)
{
	const unsigned char *bytes = key;
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

static struct refusal *find(struct kafka *kafka, const struct event *event)
{
	for (size_t i = 0; i < kafka->refusals_count; i++)
		if (kafka->refusals[i].id == event->id && kafka->refusals[i].topic == event->topic)
			return &kafka->refusals[i];
	return NULL;
}

static void forget(struct kafka *kafka, struct refusal *refusal)
{
	*refusal = kafka->refusals[--kafka->refusals_count];
}

static void forget_topic(struct kafka *kafka, const struct topic *topic)
{
	for (size_t i = kafka->refusals_count; i-- > 0;)
		if (kafka->refusals[i].topic == topic)
			forget(kafka, &kafka->refusals[i]);
}

static unsigned untaken(const struct kafka *kafka, const struct topic *topic)
{
	unsigned count = 0;

	for (size_t i = 0; i < kafka->refusals_count; i++)
		count += kafka->refusals[i].topic == topic && !kafka->refusals[i].again;
	return count;
}

static void blame_environment(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code)
{
	topic->refuses = true;
	forget_topic(kafka, topic);
	kafka->blamed = false;
	kafka_trouble(
	    kafka, topic,
	    "topic %s refuses every event that is tried: %s (%s). No event is rejected for "
	    "it: see the topic's settings, and what is between the relay and the "
	    "brokers%s",
	    topic->name, rd_kafka_err2name(code), rd_kafka_err2str(code),
	    verdict_advice(rd_kafka_err2name(code)));
	if (log_limit_due(&topic->refuses_told, clock_monotonic_us(), KAFKA_REPEAT_US))
		log_warning("%s%s", kafka->trouble.text, topic->refuses_told.note);
	kafka_break(kafka, kafka->trouble.text);
}

static void remember(struct kafka *kafka, const struct suspect *suspect)
{
	if (kafka->refusals_count == KEPT_MOST)
		kafka->refusals_count = 0;
	if (kafka->refusals == NULL)
		kafka->refusals = xcalloc(KEPT_MOST, sizeof(*kafka->refusals));
	kafka->refusals[kafka->refusals_count++] = (struct refusal){
	    .id = suspect->event->id,
	    .topic = suspect->event->topic,
	    .key = suspect->key,
	    .code = suspect->code,
	    .reason = suspect->reason,
	};
}

void kafka_refused(struct kafka *kafka, const struct suspect *suspect)
{
	struct topic *topic = suspect->event->topic;
	struct refusal *before = find(kafka, suspect->event);
	rd_kafka_resp_err_t code = suspect->code;

	if (before != NULL && before->again) {
		forget(kafka, before);
		kafka_reject(kafka, suspect->event, suspect->reason, code);
		return;
	}
	if (before == NULL)
		remember(kafka, suspect);
	kafka_return(kafka, suspect->event);
	if (topic->refuses || untaken(kafka, topic) + topic->rejected_in_row >= TRIALS_MOST)
		blame_environment(kafka, topic, code);
}

void kafka_taken(struct kafka *kafka, struct topic *topic)
{
	topic->refuses = false;
	topic->rejected_in_row = 0;
	for (size_t i = 0; i < kafka->refusals_count; i++)
		if (kafka->refusals[i].topic == topic)
			kafka->refusals[i].again = true;
}

/* Whether the event must wait for the judgement on one of its key, or on itself. */
static bool must_wait(const struct kafka *kafka, const struct event *event, uint32_t key)
{
	for (size_t i = 0; i < kafka->refusals_count; i++) {
		const struct refusal *refusal = &kafka->refusals[i];

		if (refusal->topic == event->topic && refusal->key == key && refusal->held)
			return true;
		if (refusal->topic == event->topic && refusal->id == event->id)
			return !refusal->again;
	}
	return false;
}

bool kafka_hold_back(struct kafka *kafka, struct event *event, const struct message *message)
{
	uint32_t key = kafka_key_hash(message->key.data, message->key.len);
	struct refusal *refusal;

	if (kafka->refusals_count == 0 || !must_wait(kafka, event, key))
		return false;
	refusal = find(kafka, event);
	if (refusal != NULL)
		refusal->held = true;
	if (kafka->held_count == kafka->held_capacity) {
		kafka->held_capacity = kafka->held_capacity * 2 + 16;
		kafka->held = xrealloc(kafka->held, kafka->held_capacity * sizeof(struct event *));
	}
	kafka->held[kafka->held_count++] = event;
	kafka_judge_soon(kafka);
	return true;
}

void kafka_judge_soon(struct kafka *kafka)
{
	if (kafka->held_count > 0)
		loop_timer_set(kafka->judge, kafka->state == KAFKA_READY ? JUDGE_US : 0);
}

static void return_held(struct kafka *kafka)
{
	size_t count = kafka->held_count;

	kafka->held_count = 0;
	for (size_t i = 0; i < kafka->refusals_count; i++)
		kafka->refusals[i].held = false;
	for (size_t i = 0; i < count; i++)
		kafka_return(kafka, kafka->held[i]);
}

/* No event of another key is there to be tried. False if that is too many of the topic in a row. */
static bool may_reject_held(struct kafka *kafka)
{
	for (size_t i = 0; i < kafka->refusals_count; i++) {
		struct refusal *refusal = &kafka->refusals[i];

		if (!refusal->held ||
		    untaken(kafka, refusal->topic) + refusal->topic->rejected_in_row < TOO_MANY)
			continue;
		blame_environment(kafka, refusal->topic, refusal->code);
		return false;
	}
	return true;
}

static void reject_held(struct kafka *kafka)
{
	for (size_t i = 0; i < kafka->held_count;) {
		struct event *event = kafka->held[i];
		struct refusal *refusal = find(kafka, event), verdict;

		if (refusal == NULL) {
			i++;
			continue;
		}
		verdict = *refusal;
		forget(kafka, refusal);
		memmove(kafka->held + i, kafka->held + i + 1,
			(--kafka->held_count - i) * sizeof(struct event *));
		event->topic->rejected_in_row++;
		kafka_reject(kafka, event, verdict.reason, verdict.code);
	}
}

static bool any_goes_again(const struct kafka *kafka)
{
	for (size_t i = 0; i < kafka->refusals_count; i++)
		if (kafka->refusals[i].held && kafka->refusals[i].again)
			return true;
	return false;
}

void kafka_judge(void *arg)
{
	struct kafka *kafka = arg;

	if (kafka->state != KAFKA_READY) {
		return_held(kafka);
		return;
	}
	if (kafka->held_count == 0 || kafka->in_flight > 0)
		return;
	if (any_goes_again(kafka)) {
		kafka_drain(kafka, "its topic took other events: a refused one is tried again");
		return;
	}
	if (!may_reject_held(kafka))
		return;
	reject_held(kafka);
	if (kafka->held_count > 0)
		kafka_drain(kafka, "a refused event is rejected: those behind it go on");
}
