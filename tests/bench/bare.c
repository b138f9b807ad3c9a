/* SPDX-License-Identifier: ISC */
/*
 * bare.c - the barest program that claims, produces and commits: what can be had without any
 * guarantee
 *
 * usage: bare DSN TOPIC EVENTS ROWS POLL_MS delete|position PROPERTY=VALUE...
 *
 * Publishes so many events of outbox_events (outbox_positions), up to ROWS in a transaction, and
 * ends. When there are none it looks again after POLL_MS. With 0 it waits for a notification: the
 * bell must be armed. No error is dealt with, nothing is routed, and the order of a claim's rows is
 * whatever RETURNING makes it.
 */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char claim_sql[] =
    "DELETE FROM outbox_events WHERE ctid = ANY(ARRAY(SELECT ctid FROM outbox_events ORDER BY id "
    "LIMIT $1::int8 FOR UPDATE SKIP LOCKED)) RETURNING aggregate_id, payload, event_id, event_type";
enum { KEY, VALUE, ID, TYPE, COLUMNS };

/* The same where rows stay: by id alone, which is no position that could be trusted. */
static const char read_sql[] = "SELECT aggregate_id, payload, event_id, event_type, id FROM "
			       "outbox_positions WHERE id > (SELECT "
			       "reached FROM bare_position) ORDER BY id LIMIT $1::int8";
static const char reached_sql[] = "UPDATE bare_position SET reached = $1";
static int deletes;

static long unreported;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bare: cannot %s\n", what);
	exit(1);
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void)rk;
	(void)opaque;
	check(!message->err, "deliver");
	unreported--;
}

static void produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, const PGresult *res, int row)
{
	char *at[COLUMNS];
	size_t size[COLUMNS];
	for (int i = 0; i < COLUMNS; i++) {
		at[i] = PQgetvalue(res, row, i);
		size[i] = (size_t)PQgetlength(res, row, i);
	}
	check(!rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_KEY(at[KEY], size[KEY]),
				 RD_KAFKA_V_VALUE(at[VALUE], size[VALUE]),
				 RD_KAFKA_V_HEADER("id", at[ID], (ssize_t)size[ID]),
				 RD_KAFKA_V_HEADER("type", at[TYPE], (ssize_t)size[TYPE]),
				 RD_KAFKA_V_END),
	      "produce");
}

/* The next events in a transaction of their own; how many there were. */
static int publish(PGconn *db, rd_kafka_t *rk, rd_kafka_topic_t *topic, const char *rows)
{
	PQclear(PQexec(db, "BEGIN"));
	PGresult *res = PQexecPrepared(db, "claim", 1, &rows, NULL, NULL, 0);
	check(PQresultStatus(res) == PGRES_TUPLES_OK, "claim");
	int count = PQntuples(res);
	unreported = count;
	for (int row = 0; row < count; row++)
		produce(rk, topic, res, row);
	while (unreported > 0)
		rd_kafka_poll(rk, 1000);
	if (!deletes && count > 0) {
		const char *last = PQgetvalue(res, count - 1, COLUMNS);
		PQclear(PQexecParams(db, reached_sql, 1, NULL, &last, NULL, NULL, 0));
	}
	PQclear(res); /* librdkafka has only borrowed the payloads */
	res = PQexec(db, "COMMIT");
	check(PQresultStatus(res) == PGRES_COMMAND_OK, "commit");
	PQclear(res);
	return count;
}

static void wait_for_notification(PGconn *db)
{
	PGnotify *heard;
	while (!(heard = PQnotifies(db))) {
		poll(&(struct pollfd){.fd = PQsocket(db), .events = POLLIN}, 1, -1);
		check(PQconsumeInput(db), "listen");
	}
	for (; heard; heard = PQnotifies(db))
		PQfreemem(heard);
}

static rd_kafka_topic_t *open_topic(const char *name, char **properties, int count, rd_kafka_t **rk)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const struct rd_kafka_metadata *metadata;
	for (int i = 0; i < count; i++) {
		const char *key = strtok(properties[i], "="), *value = strtok(NULL, "");
		check(!rd_kafka_conf_set(conf, key, value, NULL, 0), key);
	}
	rd_kafka_conf_set_dr_msg_cb(conf, on_report);
	check((*rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0)) != NULL, "make a producer");
	rd_kafka_topic_t *topic = rd_kafka_topic_new(*rk, name, NULL);
	check(!rd_kafka_metadata(*rk, 0, topic, &metadata, 30000), "look at the topic");
	rd_kafka_metadata_destroy(metadata);
	return topic;
}

int main(int argc, char **argv)
{
	check(argc >= 7, "run: usage: bare DSN TOPIC EVENTS ROWS POLL_MS delete|position "
			 "PROPERTY=VALUE...");
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic = open_topic(argv[2], argv + 7, argc - 7, &rk);
	useconds_t poll_us = (useconds_t)atol(argv[5]) * 1000;
	PGconn *db = PQconnectdb(argv[1]);
	check(PQstatus(db) == CONNECTION_OK, "connect");
	PQclear(PQexec(db, "LISTEN outbox_relay"));
	deletes = strcmp(argv[6], "delete") == 0;
	PQclear(PQprepare(db, "claim", deletes ? claim_sql : read_sql, 0, NULL));
	printf("ready\n");
	fflush(stdout);
	for (long left = atol(argv[3]); left > 0;) {
		int count = publish(db, rk, topic, argv[4]);
		left -= count;
		if (count == 0 && poll_us > 0)
			usleep(poll_us);
		else if (count == 0)
			wait_for_notification(db);
	}
	PQfinish(db);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
