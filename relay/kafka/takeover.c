/* SPDX-License-Identifier: ISC */
/*
 * takeover.c - a new producer takes its id over, and hands out the ledger of what was before it
 *
 * When brokers have given it the id, whatever earlier producers had begun with it is ended, for
 * good: none of them can commit any more. Then the ledger says what they have committed.
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/failpoints.h"
#include "ledger.h"

#include "base/xalloc.h"

#include <stdlib.h>

enum {
	/* The end of an earlier transaction, and brokers that have just started, take that long. */
	QUIET_US = 3 * 1000 * 1000,
	REPEAT_US = 30 * 1000 * 1000,
	/* What is left to a chunk of the room that a record has. */
	CHUNK_LEAST = 1000,
	/* Doublings of the pause: the id may come at any time; a topic is made by somebody. */
	ID_TRIES = 3,
	LEDGER_TRIES = 10,
};

static void run_init(struct helper *helper, void *arg)
{
	struct outcome *outcome = arg;

	outcome->kind = OUTCOME_AGAIN;
	if (!helper_ceases(helper))
		*outcome = kafka_outcome(
		    rd_kafka_init_transactions(helper_client(helper), HELPER_SLICE_MS));
}

static void ask_id(struct kafka *kafka)
{
	helper_ask(kafka->producer.helper, run_init, xcalloc(1, sizeof(struct outcome)), free);
}

/* While no broker can be reached, that is told. */
static void report(struct kafka *kafka, const char *what, const char *why)
{
	struct transaction *transaction = &kafka->transaction;
	int64_t now = clock_monotonic_us();

	if (!kafka->connection.reachable)
		return;
	kafka_trouble(kafka, NULL, "%s: %s", what, why);
	if (log_limit_due(&transaction->log, now, REPEAT_US))
		log_fact(LOG_WARNING, "exactly_once_waits", LOG_FIELDS(field_text("peer", "kafka")),
			 "nothing is published yet: %s; trying again%s", kafka->trouble.text,
			 transaction->log.note);
}

static void try_later(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;
	unsigned most = transaction->reads ? LEDGER_TRIES : ID_TRIES;

	loop_timer_set(transaction->again, backoff_us(transaction->tries, &kafka->random));
	if (transaction->tries < most)
		transaction->tries++;
}

static void ask_ledger(struct kafka *kafka)
{
	struct error err;
	rd_kafka_conf_t *conf =
	    kafka_conf_new(&kafka->options, kafka->bootstrap, kafka->secrets.password, &err);

	if (conf == NULL) {
		report(kafka, "the ledger cannot be read", err.text);
		try_later(kafka);
		return;
	}
	helper_ask(kafka->producer.helper, ledger_read,
		   ledger_reading_new(conf, kafka_pass_new(kafka), kafka->options.ledger_topic,
				      &kafka->transaction.id),
		   ledger_reading_free);
}

void kafka_take_over(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;

	transaction->since_us = clock_monotonic_us();
	transaction->tries = 0;
	transaction->reads = PLANTED("ledger-before-fence");
	kafka_take_over_again(kafka);
}

void kafka_take_over_again(void *arg)
{
	struct kafka *kafka = arg;

	if (kafka->transaction.reads)
		ask_ledger(kafka);
	else
		ask_id(kafka);
}

/* ---- what came of it ---- */

static void replace_producer(struct kafka *kafka)
{
	kafka->transaction.state = TRANSACTION_OVER;
	loop_timer_set(kafka->incident.restart,
		       backoff_us(kafka->incident.failures++, &kafka->random));
}

static void hear_of_id(struct kafka *kafka, const struct outcome *outcome)
{
	struct transaction *transaction = &kafka->transaction;
	static const char what[] = "Kafka does not give the relay its transactional id";
	struct error why;
	bool waits;

	switch (outcome->kind) {
	case OUTCOME_GOOD:
		transaction->reads = true;
		transaction->tries = 0;
		ask_ledger(kafka);
		break;
	case OUTCOME_AGAIN:
		waits = outcome->code == RD_KAFKA_RESP_ERR__TIMED_OUT;
		if (clock_monotonic_us() - transaction->since_us > QUIET_US)
			report(kafka, what,
			       waits ? "the coordinator of its transactions does not answer"
				     : outcome->words);
		if (waits)
			ask_id(kafka);
		else
			try_later(kafka);
		break;
	case OUTCOME_FENCED:
		transaction->state = TRANSACTION_OVER;
		kafka_fence(kafka, outcome->words);
		break;
	case OUTCOME_FAILED:
		error_set(&why, "%s%s", outcome->words,
			  kafka_advice(rd_kafka_err2name(outcome->code)));
		report(kafka, what, why.text);
		replace_producer(kafka);
		break;
	}
}

/* As the topic and the producer let it have. */
static size_t chunk_bytes(const struct kafka *kafka, size_t topic_bytes)
{
	size_t most = kafka->producer.max_bytes;

	if (topic_bytes < most)
		most = topic_bytes;
	if (most > LEDGER_CHUNK + CHUNK_LEAST)
		return LEDGER_CHUNK;
	return most > 2 * CHUNK_LEAST ? most - CHUNK_LEAST : CHUNK_LEAST;
}

static void become_ready(struct kafka *kafka, struct ledger_reading *reading)
{
	struct transaction *transaction = &kafka->transaction;

	if (PLANTED("ledger-before-fence"))
		rd_kafka_error_destroy(rd_kafka_init_transactions(kafka->producer.rk, -1));
	transaction->ledger =
	    rd_kafka_topic_new(kafka->producer.rk, kafka->options.ledger_topic, NULL);
	transaction->chunk_bytes = chunk_bytes(kafka, reading->max_bytes);
	transaction->notes = reading->notes;
	transaction->cluster = reading->cluster;
	reading->notes = NULL;
	reading->cluster = NULL;
	kafka->sink.ledger = reading->ledger;
	transaction->state = TRANSACTION_IDLE;
	transaction->log = (struct log_limit){0};
	kafka->state = KAFKA_READY;
	if (kafka->trouble.topic == NULL)
		kafka_trouble_over(kafka);
	loop_timer_set(kafka->tick, 0);
}

/* A topic was met meanwhile that takes smaller batches only. */
static bool sends_too_large(const struct kafka *kafka)
{
	return kafka->topics.smallest < kafka->producer.batch_bytes;
}

static void hear_of_ledger(struct kafka *kafka, struct ledger_reading *reading)
{
	bool good = reading->good && !sends_too_large(kafka);

	if (good) {
		become_ready(kafka, reading);
	} else if (reading->good) {
		kafka->transaction.state = TRANSACTION_OVER;
		loop_timer_set(kafka->incident.restart, 0);
	} else if (reading->fenced) {
		kafka->transaction.state = TRANSACTION_OVER;
		kafka_fence(kafka, reading->err.text);
	} else if (reading->spoiled) {
		report(kafka, "the ledger cannot be used", reading->err.text);
		replace_producer(kafka);
	} else {
		report(kafka, "the ledger is not known", reading->err.text);
		try_later(kafka);
	}
	ledger_reading_free(reading);
	if (good)
		kafka->sink.events->ready(kafka->sink.owner);
}

void kafka_takeover_serve(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;
	void *job;

	if (kafka->producer.helper == NULL || transaction->state != TRANSACTION_NONE ||
	    kafka->state != KAFKA_REBUILDING)
		return;
	job = helper_take(kafka->producer.helper);
	if (job == NULL)
		return;
	if (transaction->reads) {
		hear_of_ledger(kafka, job);
	} else {
		struct outcome outcome = *(struct outcome *)job;

		free(job);
		hear_of_id(kafka, &outcome);
	}
}
