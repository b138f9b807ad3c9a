/* SPDX-License-Identifier: ISC */
/*
 * reconcile_ledger.c - `reconcile --after-restore`: once what is published is settled, relays that
 * deliver exactly once begin anew, with other producers and a ledger that is empty
 */
#include "base/xalloc.h"
#include "commands.h"
#include "kafka/reader.h"
#include "postgres.h"
#include "reconcile.h"
#include "verify.h"

#include <stdlib.h>

enum { TIMEOUT_MS = 10000 };

static bool refuse_missing(const char *topic, struct error *err)
{
	return error_set(err,
			 "the brokers show no ledger topic %s; make it with `outbox-relay check "
			 "--create`",
			 topic);
}

/* Notes of the producers of before mean nothing to new ones, whose batches begin with 1. */
static bool judge_ledger(const struct kafka_reader *reader, const char *topic, struct error *err)
{
	for (size_t i = 0; i < kafka_reader_count(reader); i++)
		if (kafka_reader_place(reader, i)->high > 0)
			return error_set(
			    err,
			    "ledger topic %s has records of before; name another one in "
			    "kafka.ledger_topic, and make it with `outbox-relay check --create`",
			    topic);
	return true;
}

bool reconcile_check_ledger(const struct reconcile *reconcile, struct error *err)
{
	struct kafka_options kafka = command_kafka_options(reconcile->config);
	const char *topic = reconcile->config->kafka.ledger_topic;
	struct kafka_reader *reader = kafka_reader_new(&kafka, TIMEOUT_MS, err);
	struct error ignored;
	bool good;

	if (reader == NULL) {
		verify_explain(&kafka, err);
		return false;
	}
	good = (kafka_reader_add(reader, topic, &ignored) || refuse_missing(topic, err)) &&
	       kafka_reader_mark(reader, err) && judge_ledger(reader, topic, err);
	kafka_reader_free(&reader);
	return good;
}

bool reconcile_renew(struct reconcile *reconcile, struct error *err)
{
	const char *params[] = {reconcile->table};
	PGresult *result = pgsync_query(
	    reconcile->conn, "naming new producers",
	    "SELECT outbox_relay.renew_producers(to_regclass($1)) AS producers", 1, params, err);

	if (result != NULL)
		reconcile->producers = xstrdup(pgsync_text(result, 0, "producers"));
	PQclear(result);
	return result != NULL;
}
