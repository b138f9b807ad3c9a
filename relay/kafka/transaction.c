/* SPDX-License-Identifier: ISC */
/*
 * transaction.c - the transaction of a batch: its beginning, its note in the ledger, its commit
 *
 * BEGIN, a record in the producer's partition of the ledger, is sent before the first event; END,
 * the note of the batch, is sent once all events are acknowledged. So a request to end an earlier
 * transaction that comes late, with which librdkafka cannot tell a broker's answer to one
 * transaction from that to another, does no harm: if it aborts, it takes the ledger's partition out
 * of this transaction, and the broker refuses END; if it commits, END is missing.
 *
 * For this the ledger's partition must not become part of the transaction after one with events.
 * librdkafka asks for all partitions that wait in one request (AddPartitionsToTxn), which a broker
 * carries out whole or not at all, and makes one at a time (rd_kafka_txn_register_partitions); but
 * a partition waits only once its topic is known. So the report of a producer's first BEGIN is
 * awaited, also of the first one after Kafka could not be reached, and that of later ones is not:
 * this saves them two round trips. A topic that brokers deny for a moment is not seen by this; then
 * the new producer after each abort is what keeps late requests away.
 *
 * A commit is clean if one request was sent for it, and one answer came. Otherwise one may still be
 * on its way, and would end the next transaction of this producer: only a new producer, whose epoch
 * is another, is safe from it. After a commit was asked for nothing is ever aborted: it may be
 * done.
 */
#include "base/failpoints.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "ledger.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* ---- the ledger's records ---- */

bool kafka_is_ledger(const struct kafka *kafka, struct slice topic)
{
	return kafka_is_transactional(kafka) &&
	       slice_equal(topic, slice_of(kafka->options.ledger_topic));
}

/* Nothing is told from inside the sink's own functions. */
static void fail_later(struct kafka *kafka, const char *what, const char *words)
{
	kafka->transaction.state = TRANSACTION_OVER;
	error_set(&kafka->transaction.failure, "%s: %s", what, words);
	eventfd_write(kafka->wake_fd, 1);
}

static void send_record(struct kafka *kafka, const struct ledger_record *record)
{
	const struct transaction *transaction = &kafka->transaction;
	rd_kafka_resp_err_t code =
	    ledger_send(kafka->producer.rk, transaction->ledger, transaction->id.number, record);

	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail_later(kafka, "cannot write to the ledger topic", rd_kafka_err2str(code));
}

/* ---- beginning ---- */

static void begin(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;
	struct outcome outcome = kafka_outcome(rd_kafka_begin_transaction(kafka->producer.rk));
	struct ledger_record record = ledger_begin(transaction->id.group);

	if (outcome.kind != OUTCOME_GOOD) {
		fail_later(kafka, "cannot begin a transaction", outcome.words);
		return;
	}
	transaction->state = transaction->ledger_known ? TRANSACTION_OPEN : TRANSACTION_BEGINS;
	transaction->begins = true;
	transaction->events = 0;
	kafka->sink.begun = true;
	send_record(kafka, &record);
}

bool kafka_transaction_takes(struct kafka *kafka)
{
	if (kafka->transaction.state == TRANSACTION_IDLE)
		begin(kafka);
	return kafka->transaction.state == TRANSACTION_OPEN;
}

void kafka_transaction_delivered(struct kafka *kafka, const struct event *event)
{
	kafka->transaction.events++;
	if (event->copy == NULL)
		event->topic->uncommitted++;
}

/* ---- committing ---- */

/* Thread: the helper's. */
static void run_commit(struct helper *helper, void *arg)
{
	helper_commit(helper, 0, arg); /* the engine gives up what stalls */
}

static void commit(struct kafka *kafka)
{
	FAILPOINT("ledger-written");
	kafka->transaction.state = TRANSACTION_COMMITS;
	helper_ask(kafka->producer.helper, run_commit, xcalloc(1, sizeof(struct helper_commit)),
		   free);
}

/* One at a time: a batch of several might be larger than the topic takes. */
static void send_chunk(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;
	struct ledger_record record =
	    ledger_end(transaction->id.group, &transaction->batch, transaction->checksum,
		       transaction->chunk_bytes, transaction->chunk);

	send_record(kafka, &record);
}

static void keep_batch(struct transaction *transaction, const struct ledger_batch *batch)
{
	char *copy = xmalloc(batch->note.len + 1);

	if (batch->note.len > 0)
		memcpy(copy, batch->note.data, batch->note.len);
	free((char *)(uintptr_t)transaction->batch.note.data);
	transaction->batch = (struct ledger_batch){batch->number, {copy, batch->note.len}};
	transaction->checksum = ledger_checksum(batch->note);
	transaction->chunk = 0;
}

void kafka_transaction_commit(struct kafka *kafka, const struct ledger_batch *batch)
{
	struct transaction *transaction = &kafka->transaction;

	/* Otherwise it is broken, which is told, or about to be. */
	if (kafka->state != KAFKA_READY || transaction->state != TRANSACTION_OPEN)
		return;
	assert(kafka->producer.in_flight == 0);
	keep_batch(transaction, batch);
	transaction->state = TRANSACTION_ENDS;
	send_chunk(kafka);
}

static void on_begun(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;

	transaction->begins = false;
	transaction->ledger_known = true;
	if (transaction->state != TRANSACTION_BEGINS)
		return;
	transaction->state = TRANSACTION_OPEN;
	kafka_judge_soon(kafka);
	kafka_writable(kafka, WAITS_FOR_BEGIN);
}

static void on_chunk_written(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;

	transaction->chunk++;
	if (transaction->chunk <
	    ledger_chunks(transaction->batch.note.len, transaction->chunk_bytes))
		send_chunk(kafka);
	else
		commit(kafka);
}

/* Reports of one partition come in the order of its records. */
static void on_ledger_written(struct kafka *kafka)
{
	if (kafka->transaction.begins)
		on_begun(kafka);
	else if (kafka->transaction.state == TRANSACTION_ENDS)
		on_chunk_written(kafka);
}

/* What librdkafka takes back of a transaction that has failed says less than what it failed for,
 * which comes before or has come. */
void kafka_ledger_reported(struct kafka *kafka, const rd_kafka_message_t *report)
{
	const char *name = rd_kafka_err2name(report->err);

	if (kafka->state != KAFKA_READY)
		return;
	if (report->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
		on_ledger_written(kafka);
		return;
	}
	kafka_trouble(kafka, NULL, "the ledger topic %s: %s (%s)%s", kafka->options.ledger_topic,
		      name, rd_kafka_err2str(report->err), kafka_advice(name));
	kafka_break(kafka, kafka->trouble.text);
}

/* ---- what came of it ---- */

static void count_published(struct kafka *kafka)
{
	for (struct topic *topic = kafka->topics.first; topic != NULL; topic = topic->next) {
		topic->metrics->published += topic->uncommitted;
		topic->uncommitted = 0;
	}
}

static void committed(struct kafka *kafka, bool clean)
{
	bool singles_are_over = kafka_singles_are_over(kafka, kafka->transaction.events);
	bool goes_on = clean && !singles_are_over && kafka->state == KAFKA_READY;

	count_published(kafka);
	kafka->sink.begun = false;
	kafka->incident.failures = 0;
	kafka->transaction.state = goes_on ? TRANSACTION_IDLE : TRANSACTION_OVER;
	if (!goes_on)
		kafka_retire(kafka);
	kafka->sink.events->committed(kafka->sink.owner, goes_on);
}

static void in_doubt(struct kafka *kafka, const struct outcome *outcome)
{
	struct error why;

	error_set(&why, "%s", outcome->words);
	kafka->transaction.state = TRANSACTION_OVER;
	kafka_trouble(kafka, NULL, "a transaction's commit has failed: %s", outcome->words);
	kafka_give_up(kafka);
	kafka->sink.events->in_doubt(kafka->sink.owner, why.text);
	if (outcome->kind == OUTCOME_FENCED)
		kafka_fence(kafka, why.text);
}

static void hear_of_commit(struct kafka *kafka)
{
	struct helper_commit *commit = helper_take(kafka->producer.helper);

	if (commit == NULL)
		return;
	if (PLANTED("unclean-trusted"))
		commit->clean = true;
	if (commit->outcome.kind == OUTCOME_GOOD)
		committed(kafka, commit->clean);
	else
		in_doubt(kafka, &commit->outcome);
	free(commit);
}

static void tell_failure(struct kafka *kafka)
{
	struct error why = kafka->transaction.failure;
	char words[8];

	kafka->transaction.failure.text[0] = '\0';
	if (kafka->producer.rk != NULL &&
	    kafka_is_fenced(rd_kafka_fatal_error(kafka->producer.rk, words, sizeof(words)))) {
		kafka_fence(kafka, why.text);
		return;
	}
	kafka_trouble(kafka, NULL, "%s", why.text);
	kafka_break(kafka, why.text);
}

void kafka_transaction_serve(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;

	if (kafka->state == KAFKA_CLOSING)
		return;
	if (transaction->failure.text[0] != '\0')
		tell_failure(kafka);
	if (transaction->state == TRANSACTION_COMMITS)
		hear_of_commit(kafka);
}

/* ---- what librdkafka tells in its log alone ---- */

/* "...: Failed to add partition "orders" [3] to transaction: Broker: Topic authorization failed"
 * (rd_kafka_txn_handle_AddPartitionsToTxn). Brokers ask for the right at this, and not when records
 * come. */
static void note_denied(struct kafka *kafka, const char *text)
{
	static const char before[] = "Failed to add partition \"";
	const char *words = rd_kafka_err2str(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	const char *name = strstr(text, before), *end;
	struct topic *topic;

	if (name == NULL || strstr(name, words) == NULL)
		return;
	name += sizeof(before) - 1;
	end = strchr(name, '"');
	if (end == NULL || kafka_is_ledger(kafka, (struct slice){name, (size_t)(end - name)}))
		return;
	topic = kafka_topic(kafka, (struct slice){name, (size_t)(end - name)});
	kafka_trouble(kafka, topic, "topic %s: TOPIC_AUTHORIZATION_FAILED (%s)%s", topic->name,
		      words, kafka_advice("TOPIC_AUTHORIZATION_FAILED"));
	kafka->incident.blamed = true; /* its topic waits, and no other */
	kafka_topic_denied(kafka, topic);
}

/* Of a record that was refused the report follows, which says more; of a commit, the call; of an
 * error that is fatal, an event. */
static void note_failed(struct kafka *kafka, const char *text)
{
	const char *words = strstr(text, "]: ");

	if (kafka->state != KAFKA_READY || kafka->transaction.state == TRANSACTION_COMMITS ||
	    strstr(text, "ProduceRequest for") != NULL || strstr(text, "]: Fatal ") != NULL)
		return;
	kafka_trouble(kafka, NULL, "%s", words != NULL ? words + 3 : text);
	kafka_break(kafka, kafka->trouble.text);
}

void kafka_transaction_note(struct kafka *kafka, rd_kafka_event_t *event)
{
	const char *facility, *text;

	if (!kafka_is_transactional(kafka) ||
	    rd_kafka_event_log(event, &facility, &text, NULL) != 0)
		return;
	if (strcmp(facility, "ADDPARTS") == 0)
		note_denied(kafka, text);
	else if (strcmp(facility, "TXNERR") == 0)
		note_failed(kafka, text);
}

/* ---- the end ---- */

/* Thread: the helper's. */
static void run_abort(struct helper *helper, void *arg)
{
	helper_abort(helper, arg);
}

/* It has begun, and nobody has asked to commit it. */
static bool is_open(const struct transaction *transaction)
{
	return transaction->state == TRANSACTION_BEGINS || transaction->state == TRANSACTION_OPEN ||
	       transaction->state == TRANSACTION_ENDS;
}

bool kafka_transaction_abort(struct kafka *kafka)
{
	if (!is_open(&kafka->transaction) || !kafka->connection.reachable)
		return false;
	kafka->transaction.state = TRANSACTION_OVER;
	helper_ask(kafka->producer.helper, run_abort, xcalloc(1, sizeof(struct outcome)), free);
	return true;
}

bool kafka_transaction_aborted(struct kafka *kafka)
{
	struct outcome *outcome = helper_take(kafka->producer.helper);

	if (outcome == NULL)
		return false;
	if (outcome->kind != OUTCOME_GOOD)
		log_debug("kafka: the open transaction is not aborted: %s", outcome->words);
	free(outcome);
	return true;
}

void kafka_transaction_supersede(struct kafka *kafka, const struct producer_id *id)
{
	struct transaction *transaction = &kafka->transaction;

	/* One that has the same id ends it. */
	if (is_open(transaction))
		transaction->leaves_open = strcmp(transaction->id.group, id->group) != 0 ||
					   transaction->id.number != id->number;
	transaction->id = *id;
	transaction->state = TRANSACTION_OVER;
	transaction->failure.text[0] = '\0';
	loop_timer_stop(transaction->again);
	if (kafka->producer.helper != NULL)
		helper_cease(kafka->producer.helper);
}

void kafka_transaction_forget_producer(struct kafka *kafka)
{
	struct transaction *transaction = &kafka->transaction;

	if (transaction->ledger != NULL)
		rd_kafka_topic_destroy(transaction->ledger);
	transaction->ledger = NULL;
	transaction->state = TRANSACTION_NONE;
	transaction->reads = transaction->fenced = transaction->leaves_open = false;
	transaction->begins = transaction->ledger_known = false;
	kafka->sink.begun = false;
	kafka->sink.ledger = (struct ledger){.count = 0};
	ledger_notes_free(&transaction->notes);
	free(transaction->cluster);
	transaction->cluster = NULL;
	for (struct topic *topic = kafka->topics.first; topic != NULL; topic = topic->next)
		topic->uncommitted = 0;
}

void kafka_transaction_free(struct kafka *kafka)
{
	free((char *)(uintptr_t)kafka->transaction.batch.note.data);
}
