/* SPDX-License-Identifier: ISC */
/*
 * check_kafka.c - `check`: the client library, the brokers, and the topics events go to
 */
#include "base/clock.h"
#include "base/pgname.h"
#include "base/xalloc.h"
#include "check.h"
#include "commands.h"
#include "core/rename.h"
#include "core/route.h"
#include "core/template.h"
#include "kafka.h"
#include "postgres.h"
#include "unsettled.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPICS_MAX = 20, LOOK_ROWS = 1000, TIMEOUT_MS = 10000, CLOCK_OFF_MS = 60 * 1000 };

struct topics {
	char *names[TOPICS_MAX]; /* owned */
	size_t count;
	char *fields[ROUTE_FIELDS_MAX]; /* owned: of the topic's template */
	size_t field_count;
	struct rename *rename; /* owned; NULL: topics are what the template renders */
};

enum { TOPIC_NAME_SIZE = 250 };

struct probe {
	struct check *check;
	int auto_create;
	int64_t ahead_ms; /* this machine's clock of the database server's */
};

static int field_index(const char *name, void *arg)
{
	struct topics *topics = arg;
	size_t i;

	for (i = 0; i < topics->field_count; i++) {
		if (strcmp(topics->fields[i], name) == 0)
			return (int)i;
	}
	return -1;
}

static void add_field(const char *name, void *arg)
{
	struct topics *topics = arg;

	if (field_index(name, arg) < 0 && topics->field_count < ROUTE_FIELDS_MAX)
		topics->fields[topics->field_count++] = xstrdup(name);
}

static void add_topic(struct check *check, struct topics *topics, const char *name)
{
	size_t i;

	for (i = 0; i < topics->count; i++) {
		if (strcmp(topics->names[i], name) == 0)
			return;
	}
	if (topics->count >= TOPICS_MAX)
		return;
	if (route_topic_is_legal(slice_of(name)))
		topics->names[topics->count++] = xstrdup(name);
	else
		check_error(check, "fix route.topic, or the events",
			    "waiting events are routed to \"%s\", which is no legal topic name",
			    name);
}

/* What route.topic renders, under the name that route.topic_regex makes of it. */
static void add_routed(struct check *check, struct topics *topics, const char *routed)
{
	char name[TOPIC_NAME_SIZE];
	size_t len;

	if (topics->rename == NULL) {
		add_topic(check, topics, routed);
		return;
	}
	switch (rename_apply(topics->rename, slice_of(routed), name, sizeof(name) - 1, &len)) {
	case RENAMED:
		name[len] = '\0';
		add_topic(check, topics, name);
		return;
	case RENAME_KEPT:
		add_topic(check, topics, routed);
		return;
	case RENAME_TOO_LONG:
	case RENAME_GAVE_UP:
		check_error(check, "fix route.topic_regex, or the events",
			    "waiting events are routed to \"%s\", of which route.topic_regex makes "
			    "no topic",
			    routed);
	}
}

/* The different values of the topic's fields among the first events that wait. */
static char *look_sql(const struct config *config, const struct topics *topics, const char *rows)
{
	char *inner = xstrdup(""), *outer = xstrdup(""), *order, *sql;
	char column[PGNAME_QUOTED_SIZE];
	size_t i;

	for (i = 0; i < topics->field_count; i++) {
		pgname_quote(route_column(&config->outbox.columns, topics->fields[i]), column);
		xappend(&inner, "%st.%s::text AS f%zu", i ? ", " : "", column, i);
		xappend(&outer, "%sf%zu", i ? ", " : "", i);
	}
	pgname_quote(config->outbox.columns.id, column);
	order = unsettled_order(config, column);
	sql = xasprintf("SELECT DISTINCT %s FROM (SELECT %s FROM %s%s LIMIT %d) AS waiting LIMIT "
			"%d",
			outer, inner, rows, order, LOOK_ROWS, TOPICS_MAX);
	free(order);
	free(inner);
	free(outer);
	return sql;
}

static void render(struct check *check, struct topics *topics, const struct template *tpl,
		   const PGresult *rows, int row)
{
	struct slice values[ROUTE_FIELDS_MAX];
	const char *null_field;
	size_t length, i;
	char *name;

	for (i = 0; i < topics->field_count; i++)
		values[i] = PQgetisnull(rows, row, (int)i)
				? SLICE_NULL
				: slice_of(PQgetvalue(rows, row, (int)i));
	if (!template_measure(tpl, values, &length, &null_field)) {
		check_error(check, "fix route.topic, or the events",
			    "waiting events have no %s, which route.topic names", null_field);
		return;
	}
	name = xmalloc(length + 1);
	*template_write(tpl, values, name) = '\0';
	add_routed(check, topics, name);
	free(name);
}

static PGresult *read_waiting(const struct config *config, PGconn *conn,
			      const struct topics *topics, struct error *err)
{
	char table[PGNAME_FULL_SIZE], *waiting, *sql;
	struct pgname name;
	PGresult *rows = NULL;

	if (!pgname_parse(config->outbox.table, &name, err))
		return NULL;
	pgname_print(&name, table);
	if (!unsettled_known(conn, config, table, NULL, err)) {
		error_set(err, "what waits is not known");
		return NULL;
	}
	waiting = unsettled_rows(conn, config, table, err);
	if (waiting) {
		sql = look_sql(config, topics, waiting);
		rows = pgsync_query(conn, "looking at waiting events", sql, 0, NULL, err);
		free(sql);
	}
	free(waiting);
	return rows;
}

static void topics_of_waiting(struct check *check, const struct config *config, PGconn *conn,
			      struct topics *topics, const struct template *tpl)
{
	struct error err;
	PGresult *rows = read_waiting(config, conn, topics, &err);
	int row;

	if (!rows) {
		check_warn(check, "see what is said about the table above",
			   "topics are not checked: %s", err.text);
		return;
	}
	for (row = 0; row < PQntuples(rows); row++)
		render(check, topics, tpl, rows, row);
	if (PQntuples(rows) == 0)
		check_ok(check,
			 "no event waits; run check again when some do, to check their topics");
	PQclear(rows);
}

/* Where consumers of events take copies for some. */
static void find_dead_letters(struct check *check, const char *name, struct topics *topics)
{
	size_t before = topics->count;

	if (*name == '\0')
		return;
	add_topic(check, topics, name);
	if (topics->count == before && before < TOPICS_MAX)
		check_warn(check, "give route.dead_letter_topic a name of its own",
			   "events go to topic %s, too, where rejected events are copied to", name);
}

static void find_topics(struct check *check, const struct config *config, PGconn *conn,
			struct topics *topics)
{
	struct config_strings none = {NULL, 0};
	/* The key's place takes the topic again: only the topic's fields are wanted. */
	const char *regex = config->route.topic_regex;
	const struct route_rules rules = {.topic = config->route.topic,
					  .key = config->route.topic,
					  .headers = &none,
					  .topic_regex = regex,
					  .topic_replacement = config->route.topic_replacement};
	struct template *tpl;
	struct error err;

	/* It parses, as it was checked when the file was read. */
	if (*regex != '\0')
		topics->rename = rename_new(regex, config->route.topic_replacement, &err);
	route_fields(&rules, add_field, topics, &err);
	tpl = template_new(config->route.topic, field_index, topics, &err);
	assert(tpl);
	if (topics->field_count == 0)
		add_routed(check, topics, config->route.topic);
	else if (conn)
		topics_of_waiting(check, config, conn, topics, tpl);
	template_free(&tpl);
	rename_free(&topics->rename);
	find_dead_letters(check, config->route.dead_letter_topic, topics);
}

static void on_cluster(void *arg, const struct kafka_probe_cluster *cluster)
{
	struct probe *probe = arg;

	probe->auto_create = cluster->auto_create;
	check_broker(probe->check, cluster);
}

static bool is_off(int64_t ahead_ms)
{
	return llabs(ahead_ms) > CLOCK_OFF_MS;
}

static long long minutes(int64_t ms)
{
	return (llabs(ms) + 30000) / 60000;
}

/* No broker reports its time. The database server does, and is a third clock. */
static int64_t check_clock(struct check *check, PGconn *conn)
{
	struct error err;
	PGresult *row = pgsync_query(
	    conn, "reading the clock",
	    "SELECT pg_catalog.to_char(1000 OPERATOR(pg_catalog.*) pg_catalog.date_part("
	    "'epoch', pg_catalog.clock_timestamp()), 'FM999999999999999') AS ms",
	    0, NULL, &err);
	int64_t ahead_ms;

	if (!row)
		return 0;
	ahead_ms = clock_realtime_us() / 1000 - pgsync_number(row, 0, "ms");
	PQclear(row);
	if (is_off(ahead_ms))
		check_warn(check, "set it: Kafka refuses records whose time is off",
			   "the clock of this machine is %lld min %s the database server's",
			   minutes(ahead_ms), ahead_ms > 0 ? "ahead of" : "behind");
	return ahead_ms;
}

static void absent_topic(const struct probe *probe, const struct kafka_probe_topic *topic)
{
	/* Brokers do not tell whether there is a topic to those who may not see it. */
	if (topic->uncreatable && strstr(topic->uncreatable, "TOPIC_AUTHORIZATION_FAILED"))
		check_error(probe->check,
			    "grant it DESCRIBE and WRITE, and create the topic if there is none",
			    "topic %s is not shown to this relay (TOPIC_AUTHORIZATION_FAILED)",
			    topic->name);
	else if (topic->uncreatable)
		check_error(probe->check, "create it, or route the events to another",
			    "topic %s does not exist, and the brokers do not create it: %s",
			    topic->name, topic->uncreatable);
	else if (probe->auto_create == 1)
		check_warn(probe->check, "create it yourself to choose partitions and replicas",
			   "topic %s does not exist yet; the brokers will make it", topic->name);
	else if (probe->auto_create == 0)
		check_error(probe->check, "create it: the brokers do not make topics by themselves",
			    "topic %s does not exist", topic->name);
	else
		check_warn(probe->check, "create it, unless the brokers do it by themselves",
			   "topic %s does not exist", topic->name);
}

static void check_durability(const struct probe *probe, const struct kafka_probe_topic *topic)
{
	if (topic->replication == 1)
		check_warn(probe->check, "give it 3 replicas",
			   "topic %s has one replica; events are lost with its disk", topic->name);
	else if (topic->replication > 1 && topic->min_insync_replicas == 1)
		check_warn(probe->check, "set its min.insync.replicas to 2",
			   "topic %s has min.insync.replicas 1; an acknowledged event may be on "
			   "one disk only",
			   topic->name);
	else if (topic->replication > 1 && topic->min_insync_replicas >= topic->replication)
		check_warn(
		    probe->check, "set its min.insync.replicas to one less",
		    "topic %s stops taking events when any of its %d replicas is unreachable",
		    topic->name, topic->replication);
}

static void check_time(const struct probe *probe, const struct kafka_probe_topic *topic)
{
	bool ahead = topic->ahead_ms >= 0 && probe->ahead_ms > topic->ahead_ms;
	bool behind = topic->behind_ms >= 0 && -probe->ahead_ms > topic->behind_ms;

	if ((ahead || behind) && is_off(probe->ahead_ms))
		check_error(probe->check, "set the clock of this machine",
			    "topic %s refuses records whose time is more than %" PRId64
			    " s %s; the clock of this machine is %lld min %s the database server's",
			    topic->name, (ahead ? topic->ahead_ms : topic->behind_ms) / 1000,
			    ahead ? "ahead" : "behind", minutes(probe->ahead_ms),
			    ahead ? "ahead of" : "behind");
}

static void on_topic(void *arg, const struct kafka_probe_topic *topic)
{
	const struct probe *probe = arg;

	if (!topic->exists && (!topic->problem || topic->uncreatable)) {
		absent_topic(probe, topic);
		return;
	}
	if (topic->exists && topic->max_message_bytes >= 0)
		check_ok(probe->check, "topic %s: %d partitions, messages up to %" PRId64 " bytes",
			 topic->name, topic->partitions, topic->max_message_bytes);
	else if (topic->exists)
		check_ok(probe->check, "topic %s: %d partitions", topic->name, topic->partitions);
	if (topic->problem)
		check_warn(probe->check,
			   "grant the relay WRITE, DESCRIBE and DESCRIBE_CONFIGS on it",
			   "topic %s: %s", topic->name, topic->problem);
	check_durability(probe, topic);
	check_time(probe, topic);
	if (topic->cleanup_policy && strstr(topic->cleanup_policy, "compact"))
		check_warn(probe->check, "use cleanup.policy=delete unless that is meant",
			   "topic %s is compacted; of the events of a key only the last is kept",
			   topic->name);
}

static void probe_brokers(struct check *check, const struct config *config, PGconn *conn,
			  const struct topics *topics)
{
	static const struct kafka_probe_events events = {on_cluster, on_topic};
	struct kafka_options options = command_kafka_options(config);
	struct probe probe = {check, -1, conn ? check_clock(check, conn) : 0};
	const char *remedy;
	struct error err;

	if (config->kafka.embedded) {
		check_warn(check, "set kafka.embedded = false for anything but trying things out",
			   "the embedded broker keeps events in memory only");
		return;
	}
	if (!kafka_probe(&options, (const char *const *)topics->names, topics->count, TIMEOUT_MS,
			 &events, &probe, &remedy, &err))
		check_error(check,
			    remedy ? remedy
				   : "see kafka.bootstrap_servers, and the settings of SASL and "
				     "TLS in kafka.properties",
			    "%s", err.text);
}

void check_kafka(struct check *check, const struct config *config, PGconn *conn)
{
	struct topics topics = {.count = 0};
	size_t i;

	check_library(check, kafka_version());
	check_kafka_transport(check, config);
	find_topics(check, config, conn, &topics);
	probe_brokers(check, config, conn, &topics);
	for (i = 0; i < topics.count; i++)
		free(topics.names[i]);
	for (i = 0; i < topics.field_count; i++)
		free(topics.fields[i]);
}
