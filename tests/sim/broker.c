/* SPDX-License-Identifier: ISC */
/*
 * broker.c - the model of Kafka, and the sink over it
 *
 * An idempotent producer: per partition, records are appended and acknowledged in the order of
 * produce. When it breaks, each record is reported in the end: those that the broker has may be
 * reported as delivered or returned (possibly persisted), and never one behind a gap.
 */
#include "halted.h"

#include <assert.h>
#include <string.h>

bool broker_is_up(const struct sim *sim)
{
	return sim->now_us >= sim->broker.down_until_us;
}

bool broker_answers(const struct relay *relay)
{
	return broker_is_up(relay->sim) && relay->sim->now_us >= relay->producer.away_until_us;
}

static void push_report(struct producer *producer, enum report_kind kind, unsigned row,
			struct event *event)
{
	assert(producer->report_count < sizeof(producer->reports) / sizeof(producer->reports[0]));
	producer->reports[producer->report_count++] = (struct report){kind, row, event};
}

static void remove_flight(struct producer *producer, unsigned partition, unsigned index)
{
	struct flight *flights = producer->flights[partition];
	unsigned after = --producer->flight_count[partition] - index;

	memmove(&flights[index], &flights[index + 1], after * sizeof(*flights));
}

static bool is_out(const struct sim *sim, unsigned topic)
{
	return sim->now_us < sim->broker.out_until_us[topic];
}

/* ---- the sink's functions ---- */

/* A topic that is new takes some time to appear, as warn_after_us in kafka/topic.c. */
enum { CERTAIN_US = 3 * 1000 * 1000 };

static enum sink_answer later(struct relay *relay)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;

	/* Sooner or later something changes that is worth another try; it need not help. */
	if (!producer->blocked)
		producer->writable_us = sim->now_us + (int64_t)(1 + sim_below(sim, 400)) * MS;
	producer->blocked = true;
	return SINK_LATER;
}

static enum sink_answer without_topic(struct relay *relay, unsigned topic)
{
	const struct sim *sim = relay->sim;
	bool certain = sim->now_us - sim->broker.out_since_us[topic] >= CERTAIN_US;

	return certain && sim->plant != PLANT_TOPIC_NEVER_OUT ? SINK_NO_TOPIC : later(relay);
}

static enum sink_answer op_produce(struct sink *sink, struct event *event,
				   const struct message *message, enum reject_reason *reason,
				   struct error *err)
{
	struct producer *producer = (struct producer *)sink;
	struct relay *relay = producer->relay;
	struct sim *sim = relay->sim;
	unsigned row = event_row(event), partition = sim->db.rows[row].partition;

	if (producer->state != PRODUCER_READY)
		return SINK_LATER;
	if (message->key.data[1] - '0' != (int)sim->db.rows[row].key)
		violated(sim, "routes to another key", "row %u", row);
	check_produced(relay, row);
	check_letter_produced(relay, row);
	if (relay->session.source.halted && !halted_is_tried(&relay->session, row))
		violated(sim, "publishes while halted", "row %u", row);
	if (sim->now_us < sim->broker.topic_away_until_us)
		return later(relay);
	if (sim->now_us < sim->db.rows[row].topic_away_until_us)
		return SINK_LATER;
	if (is_out(sim, sim->db.rows[row].topic))
		return without_topic(relay, sim->db.rows[row].topic);
	if (sim->db.rows[row].kind == KIND_TOO_LARGE) {
		halted_rejected(relay, row);
		*reason = REJECT_TOO_LARGE;
		error_set(err, "row %u is too large", row);
		return SINK_REFUSED;
	}
	struct flight *flight = &producer->flights[partition][producer->flight_count[partition]++];
	assert(producer->flight_count[partition] <= ROWS_MAX);
	*flight = (struct flight){.row = row, .event = event};
	producer->in_flight++;
	if (sim->plan.exactly_once)
		commits_begin(relay);
	return SINK_TAKEN;
}

static void op_rebuild(struct sink *sink, const struct producer_id *id)
{
	struct producer *producer = (struct producer *)sink;
	struct relay *relay = producer->relay;
	struct sim *sim = relay->sim;

	if (producer->in_flight > 0)
		violated(sim, "rebuilds too soon", "%u events are with the sink",
			 producer->in_flight);
	producer->state = PRODUCER_REBUILDING;
	producer->blocked = false;
	producer->ready_us = sim->now_us + (int64_t)sim_below(sim, 800) * MS;
	if (sim->plan.exactly_once)
		commits_rebuild(relay, id);
}

static void op_give_up(struct sink *sink)
{
	const struct producer *producer = (struct producer *)sink;

	producer_give_up(producer->relay);
}

/* Whether the broker can be reached is told anyway, if not soon. */
static void op_probe(struct sink *sink)
{
	(void)sink;
}

static const struct sink_ops ops = {.produce = op_produce,
				    .rebuild = op_rebuild,
				    .commit = commits_start,
				    .probe = op_probe,
				    .give_up = op_give_up};

void producer_init(struct relay *relay)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;

	memset(producer->flight_count, 0, sizeof(producer->flight_count));
	producer->report_count = producer->in_flight = 0;
	producer->relay = relay;
	producer->sink.ops = &ops;
	producer->sink.events = &worker_sink_events;
	producer->sink.owner = relay->process.worker;
	producer->state = PRODUCER_STARTING;
	producer->blocked = producer->told_reachable = false;
	producer->ready_us = sim->now_us + (int64_t)sim_below(sim, 50) * MS;
	producer->tell_reachable_us = sim->now_us + (int64_t)sim_below(sim, 50) * MS;
	commits_init(relay);
}

uint64_t producer_holds(const struct relay *relay)
{
	const struct producer *producer = &relay->producer;
	uint64_t rows = 0;

	for (unsigned p = 0; p < PARTITIONS; p++)
		for (unsigned i = 0; i < producer->flight_count[p]; i++)
			rows |= ROW_BIT(producer->flights[p][i].row);
	for (unsigned i = 0; i < producer->report_count; i++)
		if (producer->reports[i].event != NULL)
			rows |= ROW_BIT(producer->reports[i].row);
	return rows;
}

/* ---- appending ---- */

static unsigned first_unappended(const struct producer *producer, unsigned partition)
{
	unsigned i = 0;

	while (i < producer->flight_count[partition] && producer->flights[partition][i].appended)
		i++;
	return i;
}

bool broker_can_append(const struct relay *relay, unsigned partition)
{
	const struct producer *producer = &relay->producer;

	if (relay->sim->plan.exactly_once && !commits_can_append(relay, partition))
		return false;
	if (partition == LEDGER_PARTITION)
		return relay->sim->plan.exactly_once;
	return broker_answers(relay) &&
	       first_unappended(producer, partition) < producer->flight_count[partition];
}

/* The broker has it: readers see it, or will where it is part of a transaction. */
static void append(struct relay *relay, unsigned row)
{
	if (relay->sim->plan.exactly_once)
		transactions_log(relay->sim, relay->producer.txn.slot, row);
	else
		check_appended(relay->sim, row);
}

/* The record is refused for good; the partition's later ones come back undelivered. */
static void refuse(struct relay *relay, unsigned partition, unsigned at)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;
	struct flight poison = producer->flights[partition][at];
	bool broken_first = sim_chance(sim, 500);

	if (broken_first && producer->state == PRODUCER_READY)
		push_report(producer, REPORT_BROKEN, 0, NULL);
	push_report(producer, REPORT_REJECTED, poison.row, poison.event);
	for (unsigned i = at + 1; i < producer->flight_count[partition]; i++) {
		const struct flight *flight = &producer->flights[partition][i];
		push_report(producer, REPORT_RETURNED, flight->row, flight->event);
	}
	producer->flight_count[partition] = at;
	if (!broken_first && producer->state == PRODUCER_READY)
		push_report(producer, REPORT_BROKEN, 0, NULL);
	producer->state = PRODUCER_DRAINING;
	producer->blocked = false;
}

void broker_append_next(struct relay *relay, unsigned partition)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;

	if (partition == LEDGER_PARTITION) {
		commits_append_own(relay);
		return;
	}
	unsigned at = first_unappended(producer, partition);
	if (sim->plant == PLANT_PARTITION_SWAPS && at + 1 < producer->flight_count[partition] &&
	    sim_chance(sim, 300)) {
		struct flight first = producer->flights[partition][at];
		producer->flights[partition][at] = producer->flights[partition][at + 1];
		producer->flights[partition][at + 1] = first;
	}
	struct flight *flight = &producer->flights[partition][at];
	trace(sim, "broker: partition %u row %u", partition, flight->row);
	if (is_out(sim, sim->db.rows[flight->row].topic))
		producer_break(relay, true, sim_below(sim, 2));
	else if (sim->db.rows[flight->row].kind != KIND_POISON) {
		if (sim->plan.exactly_once && !commits_append(relay, partition))
			return;
		flight->appended = true;
		append(relay, flight->row);
	} else if (sim->plant == PLANT_POISON_DELIVERED) {
		push_report(producer, REPORT_DELIVERED, flight->row, flight->event);
		remove_flight(producer, partition, at);
	} else {
		refuse(relay, partition, at);
	}
}

void broker_append_ghost(struct sim *sim, unsigned partition)
{
	struct broker *broker = &sim->broker;
	struct late_record late = broker->ghosts[partition][0];

	memmove(&broker->ghosts[partition][0], &broker->ghosts[partition][1],
		--broker->ghost_count[partition] * sizeof(late));
	trace(sim, "broker: late request, partition %u row %u", partition, late.row);
	if (sim->plan.exactly_once) {
		transactions_log_late(sim, late.slot, late.epoch, late.row);
		return;
	}
	sim->lines_excused = true;
	check_appended(sim, late.row);
}

/* ---- acknowledging ---- */

bool broker_can_acknowledge(const struct relay *relay, unsigned partition)
{
	const struct sim *sim = relay->sim;
	const struct producer *producer = &relay->producer;
	bool too_soon =
	    sim->plant == PLANT_ACKS_TOO_SOON ||
	    (sim->plant == PLANT_END_TOO_SOON && sim->plan.exactly_once && producer->txn.begun);

	if (!broker_answers(relay) || producer->flight_count[partition] == 0)
		return false;
	return producer->flights[partition][0].appended ||
	       (too_soon && !producer->flights[partition][0].acknowledged);
}

/* Reports that are about no event. */
static void tell_trouble(struct relay *relay, enum report_kind kind)
{
	const struct sink_events *events = &worker_sink_events;
	struct worker *worker = relay->process.worker;

	if (kind == REPORT_FENCED)
		events->fenced(worker, "fenced");
	else if (kind == REPORT_IN_DOUBT)
		events->in_doubt(worker, "in doubt");
	else
		events->broken(worker, "broken");
}

static void report(struct relay *relay, const struct report *report)
{
	struct sim *sim = relay->sim;
	const struct sink_events *events = &worker_sink_events;
	struct worker *worker = relay->process.worker;

	trace(sim, "report %d row %u", (int)report->kind, report->row);
	if (report->event == NULL) {
		tell_trouble(relay, report->kind);
		return;
	}
	relay->producer.in_flight--;
	relay->process.progress_us = sim->now_us;
	if (sim->plan.exactly_once)
		commits_reported(relay, report);
	if (report->kind == REPORT_DELIVERED) {
		events->delivered(worker, report->event);
	} else if (report->kind == REPORT_RETURNED) {
		events->returned(worker, report->event);
	} else {
		halted_rejected(relay, report->row);
		events->rejected(worker, report->event, REJECT_INVALID_RECORD, "", "poison");
	}
}

void broker_acknowledge_next(struct relay *relay, unsigned partition)
{
	struct producer *producer = &relay->producer;
	struct flight flight = producer->flights[partition][0];

	remove_flight(producer, partition, 0);
	report(relay, &(struct report){REPORT_DELIVERED, flight.row, flight.event});
}

void producer_tell_report(struct relay *relay)
{
	struct producer *producer = &relay->producer;
	struct report first = producer->reports[0];

	memmove(&producer->reports[0], &producer->reports[1],
		--producer->report_count * sizeof(first));
	report(relay, &first);
}

/* ---- the end of a producer ---- */

/* Sent, and the broker will have it, though nobody waits for the answer: now or late. */
static void leave_behind(struct relay *relay, unsigned row, bool late)
{
	struct sim *sim = relay->sim;
	struct broker *broker = &sim->broker;
	const struct transaction *txn = &relay->producer.txn;
	unsigned partition = sim->db.rows[row].partition;

	if (sim->plant != PLANT_RETURNED_TOO_SOON)
		allow_repeats(sim, ROW_BIT(row));
	if (late || broker->ghost_count[partition] > 0) {
		assert(broker->ghost_count[partition] < GHOSTS_MAX);
		broker->ghosts[partition][broker->ghost_count[partition]++] =
		    (struct late_record){row, txn->slot, txn->epoch};
	} else if (sim->plan.exactly_once) {
		transactions_log_late(sim, txn->slot, txn->epoch, row);
	} else {
		check_appended(sim, row);
	}
}

/* Leaves behind the first of a partition's unappended records. */
static void leave_some(struct relay *relay, unsigned partition, unsigned some)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;
	unsigned from = first_unappended(producer, partition);
	bool late = sim->plan.late_requests && sim_chance(sim, 500);

	for (unsigned i = from; i < producer->flight_count[partition] && i < from + some; i++) {
		unsigned row = producer->flights[partition][i].row;
		if (sim->db.rows[row].kind == KIND_POISON)
			break;
		leave_behind(relay, row, late);
	}
}

static void give_back(struct relay *relay, unsigned partition, unsigned some)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;
	unsigned acknowledged = sim_below(sim, first_unappended(producer, partition) + 1);
	unsigned gap = first_unappended(producer, partition);

	leave_some(relay, partition, some);
	for (unsigned i = 0; i < producer->flight_count[partition]; i++) {
		struct flight *flight = &producer->flights[partition][i];
		bool past_gap = sim->plant == PLANT_NO_GAPLESS && i > gap &&
				sim->db.rows[flight->row].kind != KIND_POISON;
		if (past_gap)
			append(relay, flight->row);
		if (flight->appended && i >= acknowledged)
			allow_repeats(sim, ROW_BIT(flight->row));
		push_report(producer,
			    i < acknowledged || past_gap ? REPORT_DELIVERED : REPORT_RETURNED,
			    flight->row, flight->event);
	}
	producer->flight_count[partition] = 0;
}

/* What was asked to be committed may be, now or later, or never. */
static void break_commit(struct relay *relay)
{
	if (relay->producer.txn.commit == COMMIT_NONE)
		return;
	commits_leave_behind(relay);
	push_report(&relay->producer, REPORT_IN_DOUBT, 0, NULL);
}

void producer_doubt(struct relay *relay)
{
	relay->producer.state = PRODUCER_DRAINING;
	push_report(&relay->producer, REPORT_IN_DOUBT, 0, NULL);
}

void producer_break(struct relay *relay, bool hard, unsigned variant)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;
	bool broken_first = variant % 2 == 0;

	if (producer->state != PRODUCER_READY)
		return;
	producer->state = PRODUCER_DRAINING;
	producer->blocked = false;
	break_commit(relay);
	if (broken_first || !hard)
		push_report(producer, REPORT_BROKEN, 0, NULL);
	if (!hard)
		return;
	allow_jumps(sim);
	for (unsigned p = 0; p < PARTITIONS; p++)
		give_back(relay, p, variant / 2);
	if (!broken_first)
		push_report(producer, REPORT_BROKEN, 0, NULL);
}

void producer_fail(struct relay *relay, enum report_kind kind)
{
	struct producer *producer = &relay->producer;
	bool was_told = producer->state == PRODUCER_DRAINING;

	producer->state = PRODUCER_DRAINING;
	producer->blocked = false;
	if (kind == REPORT_FENCED)
		producer->txn.commit = COMMIT_NONE;
	else
		break_commit(relay);
	if (!was_told || kind == REPORT_FENCED)
		push_report(producer, kind, 0, NULL);
	for (unsigned p = 0; p < PARTITIONS; p++)
		give_back(relay, p, 0);
}

void producer_give_up(struct relay *relay)
{
	struct sim *sim = relay->sim;

	/* By then every relay has been told, and is unavailable. */
	if (!broker_is_up(sim) && sim->now_us - sim->broker.down_since_us > 20 * SECOND)
		violated(sim, "gives up in an outage for all", "relay %u", relay->index);
	relay->producer.state = PRODUCER_DRAINING;
	relay->producer.blocked = false;
	allow_jumps(sim);
	for (unsigned p = 0; p < PARTITIONS; p++)
		give_back(relay, p, sim_below(sim, 3));
}

void producer_crash(struct relay *relay, unsigned appended)
{
	struct sim *sim = relay->sim;
	struct producer *producer = &relay->producer;

	allow_jumps(sim);
	for (unsigned p = 0; p < PARTITIONS; p++)
		leave_some(relay, p, appended);
	commits_leave_behind(relay);
	producer->report_count = producer->in_flight = 0;
	memset(producer->flight_count, 0, sizeof(producer->flight_count));
}
