/* SPDX-License-Identifier: ISC */
/*
 * ledger_write.c - writes into the ledger: a record, and on which server the source is
 *
 * After a failover the old primary may live on, with a relay of its own, whose producers this one
 * has just fenced. That relay makes its producer anew, finds the line of this server, and knows
 * that the outbox goes on elsewhere, whether or not anything was published from there yet.
 */
#include "ledger.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdlib.h>

/* Brokers acknowledge nothing for so long. */
enum { PATIENCE_US = 10 * 1000 * 1000 };

rd_kafka_resp_err_t ledger_send(rd_kafka_t *rk, rd_kafka_topic_t *topic, int partition,
				const struct ledger_record *record)
{
	char key[LEDGER_KEY], *value = xmalloc(LEDGER_HEAD + record->bytes.len);
	size_t key_len = ledger_key(record, key), value_len = ledger_value(record, value);
	rd_kafka_resp_err_t code = rd_kafka_producev(
	    rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
	    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_len),
	    RD_KAFKA_V_VALUE(value, value_len), RD_KAFKA_V_END);

	free(value);
	return code;
}

/* A server that is behind the last one must not pretend to be the last. */
static bool is_due(const struct ledger_reading *reading)
{
	const char *ours = reading->id.line, *last = reading->ledger.line;

	if (ours[0] == '\0' || PLANTED("ledger-before-fence")) /* nor can that one begin yet */
		return false;
	if (last == NULL)
		return !ledger_is_lost(&reading->ledger, &reading->id);
	return !server_line_same_server(ours, last) || server_line_follows(ours, last);
}

static bool failed(struct ledger_reading *reading, const struct outcome *outcome)
{
	reading->fenced = outcome->kind == OUTCOME_FENCED;
	reading->spoiled = !reading->fenced;
	return error_set(&reading->err,
			 "partition %d of the ledger topic %s cannot be written: %s%s",
			 reading->id.number, reading->topic, outcome->words,
			 outcome->code != RD_KAFKA_RESP_ERR_NO_ERROR
			     ? kafka_advice(rd_kafka_err2name(outcome->code))
			     : "");
}

static struct outcome outcome_of(rd_kafka_resp_err_t code)
{
	struct outcome outcome = {.kind = OUTCOME_GOOD, .code = code};

	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		outcome.kind = OUTCOME_FAILED;
	text_print(outcome.words, sizeof(outcome.words), "%s", rd_kafka_err2str(code));
	return outcome;
}

static struct outcome send_line(const struct ledger_reading *reading, rd_kafka_t *rk)
{
	struct ledger_record record = ledger_line(reading->id.group, reading->id.line);
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, reading->topic, NULL);
	struct outcome outcome = outcome_of(ledger_send(rk, topic, reading->id.number, &record));

	rd_kafka_topic_destroy(topic);
	return outcome;
}

/* By the producer, which is of no use any more if this fails. */
bool ledger_announce(struct ledger_reading *reading, struct helper *helper)
{
	rd_kafka_t *rk = helper_client(helper);
	struct helper_commit commit = {.clean = false};

	if (!is_due(reading))
		return true;
	commit.outcome = kafka_outcome(rd_kafka_begin_transaction(rk));
	if (commit.outcome.kind == OUTCOME_GOOD)
		commit.outcome = send_line(reading, rk);
	if (commit.outcome.kind != OUTCOME_GOOD)
		return failed(reading, &commit.outcome);
	helper_commit(helper, clock_monotonic_us() + PATIENCE_US, &commit);
	if (commit.outcome.kind != OUTCOME_GOOD)
		return failed(reading, &commit.outcome);
	text_print(commit.outcome.words, sizeof(commit.outcome.words),
		   "it took more than one request to commit");
	return commit.clean || failed(reading, &commit.outcome);
}
