/* SPDX-License-Identifier: ISC */
/*
 * canary.c - `verify --continuous`: inserts an event, reads it back, and exports how long that took
 *
 * On an event loop, so that its pages answer while database or brokers do not.
 */
#include "canary.h"

#include "base/clock.h"
#include "base/loop.h"
#include "base/pgname.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "commands.h"
#include "converted.h"
#include "core/canary.h"
#include "core/route.h"
#include "http.h"
#include "kafka/reader.h"
#include "outbox/table.h"
#include "verify.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What is asked of the database, by the tags of the answers. */
enum { ASK_IDENTITY, ASK_INSERT };

/* Keys take turns, so that every shard and partition has some. */
enum { KEYS = 64, CONNECT_MS = 10000, TICK_US = 1000 * 1000, WARN_US = 60 * 1000000 };

struct runner {
	const struct config *config; /* borrowed, and what follows */
	const struct canary_options *options;
	char table[PGNAME_FULL_SIZE]; /* for SQL */

	struct loop *loop;
	struct loop_timer *next, *late, *tick;
	struct loop_signal *stop[2];
	struct http *http;
	struct metrics metrics;

	struct pg *pg; /* NULL: none */
	bool connected, asked;
	char *identity, *insert; /* owned; insert NULL: what it is to be like is not known yet */
	unsigned number;
	char trouble[512]; /* of the session with the database; "": none */
	struct log_limit trouble_logged, loss_logged;

	struct kafka_reader *reader;
	char *header; /* owned: the one with the event id */
	int fd;
	struct loop_io *io;

	struct canary canary;
	int status;
};

/* ---- a round ---- */

static void rest(struct runner *runner)
{
	int64_t left_us =
	    runner->options->interval_ms * 1000 - (clock_monotonic_us() - runner->canary.begun_us);

	loop_timer_stop(runner->late);
	loop_timer_set(runner->next, left_us > 0 ? left_us : 0);
}

static void came_back(struct runner *runner, unsigned lost_before)
{
	double seconds = (double)(clock_monotonic_us() - runner->canary.begun_us) / 1e6;

	histogram_observe(&runner->metrics.canary.round_trip, seconds);
	runner->metrics.canary.up = 1;
	runner->metrics.canary.returned_at = (double)clock_realtime_us() / 1e6;
	log_debug("a canary came back after %.3f s", seconds);
	if (lost_before > 0) {
		log_fact(LOG_INFO, "canary_back", LOG_FIELDS(field_number("lost", lost_before)),
			 "a canary came back after %.3f s; %u before it did not", seconds,
			 lost_before);
		runner->loss_logged = (struct log_limit){0};
	}
	rest(runner);
}

static void ask(struct runner *runner)
{
	char key[32];
	struct pg_param param;

	if (!runner->connected || runner->asked || runner->canary.state != CANARY_DUE)
		return;
	snprintf(key, sizeof(key), "canary-%u", runner->number % KEYS);
	param = pg_param_text(runner->insert != NULL ? key : runner->table);
	if (runner->insert == NULL)
		pg_ask(runner->pg, ASK_IDENTITY, runner->identity, &param, 1, false);
	else
		pg_ask(runner->pg, ASK_INSERT, runner->insert, &param, 1, false);
	runner->number += runner->insert != NULL;
	pg_sync(runner->pg);
	runner->asked = true;
}

/* Where it was last seen. */
static const char *whereabouts(const struct runner *runner)
{
	if (runner->canary.state == CANARY_AWAITED)
		return "it is in the outbox, and no record of it was read; see `outbox-relay "
		       "status`";
	if (runner->trouble[0] != '\0')
		return runner->trouble;
	return runner->connected ? "its INSERT is not answered"
				 : "there is no session with the database";
}

static void on_late(void *arg)
{
	struct runner *runner = arg;
	char patience[32];

	units_print_duration(runner->options->timeout_ms, patience, sizeof(patience));
	if (log_limit_due(&runner->loss_logged, clock_monotonic_us(), WARN_US))
		log_fact(LOG_ERROR, "canary_lost",
			 LOG_FIELDS(field_number("lost", runner->canary.lost_in_row + 1)),
			 "a canary did not come back within %s: %s%s", patience,
			 whereabouts(runner), runner->loss_logged.note);
	canary_lose(&runner->canary);
	runner->metrics.canary.lost++;
	runner->metrics.canary.up = 0;
	runner->status = EXIT_FAILED;
	/* An INSERT that hangs would hold up the next one. */
	if (runner->asked)
		pg_close(&runner->pg);
	runner->connected = runner->connected && !runner->asked;
	runner->asked = false;
	if (runner->options->listen == NULL)
		loop_stop(runner->loop);
	else
		rest(runner);
}

static void on_next(void *arg)
{
	struct runner *runner = arg;

	canary_begin(&runner->canary, clock_monotonic_us());
	runner->metrics.canary.sent++;
	loop_timer_set(runner->late, runner->options->timeout_ms * 1000);
	ask(runner);
}

/* ---- the database ---- */

static void note_trouble(struct runner *runner, const char *why)
{
	snprintf(runner->trouble, sizeof(runner->trouble), "%s", why);
	if (log_limit_due(&runner->trouble_logged, clock_monotonic_us(), WARN_US))
		log_fact(LOG_WARNING, "canary_database", LOG_FIELDS(field_sqlstate(why)),
			 "canaries cannot be inserted: %s%s", why, runner->trouble_logged.note);
}

static void on_connected(void *owner)
{
	struct runner *runner = owner;

	runner->connected = true;
	ask(runner);
}

/* A part of a row, if the table has a column for it that is not in the list already. */
static void add_part(char **names, char **values, const char *column, const char *value)
{
	char name[PGNAME_QUOTED_SIZE], *entry;

	if (*column == '\0')
		return;
	pgname_quote(column, name);
	entry = xasprintf(", %s,", name);
	if (strstr(*names, entry) == NULL) {
		xappend(names, " %s,", name);
		xappend(values, "%s%s", **values != '\0' ? ", " : "", value);
	}
	free(entry);
}

/* own_id: nothing else gives the row its event id. */
static char *insert_sql(const struct runner *runner, bool own_id)
{
	const struct config_columns *columns = &runner->config->outbox.columns;
	char *type = pgname_literal(runner->options->type), *names = xstrdup(","),
	     *values = xstrdup(""), event_id[PGNAME_QUOTED_SIZE], *sql;

	if (own_id)
		add_part(&names, &values, columns->event_id, "gen_random_uuid()");
	add_part(&names, &values, columns->aggregate_id, "$1");
	add_part(&names, &values, columns->aggregate_type, type);
	add_part(&names, &values, columns->event_type, "'Canary'");
	add_part(&names, &values, columns->payload, "'{}'");
	pgname_quote(columns->event_id, event_id);
	sql = xasprintf("INSERT INTO %s (%.*s) VALUES (%s) RETURNING %s::text", runner->table,
			(int)strlen(names) - 2, names + 1, values, event_id);
	free(type);
	free(names);
	free(values);
	return sql;
}

static bool is_given(const PGresult *columns, const char *name)
{
	for (int row = 0; row < PQntuples(columns); row++)
		if (strcmp(PQgetvalue(columns, row, 0), name) == 0)
			return PQgetvalue(columns, row, PQfnumber(columns, "given"))[0] == 't';
	return false;
}

static void take_identity(struct runner *runner, const PGresult *columns)
{
	const char *event_id = runner->config->outbox.columns.event_id;
	struct field_type type;
	struct error err;

	if (PQntuples(columns) == 0) {
		note_trouble(runner, "there is no such table; fix outbox.table, or --dsn");
	} else if (!outbox_columns_types(columns, &event_id, 1, &type, &err)) {
		note_trouble(runner, err.text);
	} else if (!converted_keeps_text(runner->config->encode.headers, type.kind)) {
		note_trouble(runner, "encode.headers writes the event id not as the database "
				     "prints it, so no canary can be found again");
	} else {
		runner->insert = insert_sql(runner, !is_given(columns, event_id));
		ask(runner);
	}
}

static void take_inserted(struct runner *runner, const PGresult *result)
{
	unsigned lost = runner->canary.lost_in_row;
	bool named = PQntuples(result) == 1 && !PQgetisnull(result, 0, 0);

	runner->trouble[0] = '\0';
	if (!named)
		note_trouble(runner, "the outbox gives its rows no event id; add a default to the "
				     "column");
	else if (canary_inserted(&runner->canary, audit_name(slice_of(PQgetvalue(result, 0, 0)))))
		came_back(runner, lost);
}

static void on_answered(void *owner, int tag, PGresult *result)
{
	struct runner *runner = owner;

	runner->asked = false;
	if (tag == ASK_IDENTITY)
		take_identity(runner, result);
	else
		take_inserted(runner, result);
	PQclear(result);
}

/* The session is given up after a refusal too, and the next tick makes another, which tries again.
 */
static void on_failed(void *owner, const struct pg_failure *failure)
{
	struct runner *runner = owner;

	note_trouble(runner, failure->why);
	runner->connected = runner->asked = false;
	pg_close(&runner->pg);
}

static const struct pg_events pg_events = {
    .connected = on_connected,
    .answered = on_answered,
    .failed = on_failed,
};

/* The columns, and of each whether something else gives a row its value, or has to: Debezium's
 * table has a uuid without a default. */
static char *identity_sql(void)
{
	return xasprintf(
	    "SELECT q.*, EXISTS (SELECT FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = "
	    "a.atttypid WHERE a.attrelid = to_regclass($1) AND a.attname = q.attname AND "
	    "(a.atthasdef OR a.attidentity <> '' OR NOT (t.typcategory = 'S' OR "
	    "coalesce(nullif(t.typbasetype, 0), t.oid) = 'uuid'::regtype))) AS given FROM (%s) AS "
	    "q",
	    outbox_columns_question);
}

/* ---- Kafka ---- */

static void read_records(struct runner *runner)
{
	const struct kafka_record *record;
	unsigned lost = runner->canary.lost_in_row;
	struct slice event_id;
	struct error err;
	char *copy;
	bool good;

	while ((record = kafka_reader_next(runner->reader, 0, &good, &err)) != NULL) {
		event_id = verify_event_id(runner->config, record, runner->header, &copy);
		if (event_id.data != NULL && canary_arrived(&runner->canary, audit_name(event_id)))
			came_back(runner, lost);
		free(copy);
	}
}

static void on_readable(int what, void *arg)
{
	struct runner *runner = arg;
	eventfd_t ignored;

	(void)what;
	while (eventfd_read(runner->fd, &ignored) != 0 && errno == EINTR)
		;
	read_records(runner);
}

struct field {
	const struct config *config;
	bool unknown;
};

/* A route_field_fn: the fields that a canary fills in. */
static int field_index(const char *name, void *arg)
{
	static const char *const filled[] = {"aggregate_type", "event_type"};
	struct field *field = arg;
	const struct config_columns *columns = &field->config->outbox.columns;
	const char *column = route_column(columns, name);

	for (int i = 0; i < 2; i++) {
		const char *part = route_column(columns, filled[i]);

		if (column != NULL && part != NULL && strcmp(column, part) == 0)
			return i;
	}
	field->unknown = true;
	return 2;
}

/* The topic of canaries; malloc'd. NULL and err if it hangs on what they do not have. */
static char *topic_of(const struct config *config, const char *type, struct error *err)
{
	static const struct config_strings none = {NULL, 0};
	const struct slice fields[] = {slice_of(type), slice_of("Canary"), SLICE_NULL};
	struct field field = {config, false};
	/* The key's place takes the topic again: only the topic is wanted. */
	const struct route_rules rules = {.topic = config->route.topic,
					  .key = config->route.topic,
					  .headers = &none,
					  .topic_regex = config->route.topic_regex,
					  .topic_replacement = config->route.topic_replacement};
	struct route *route = route_new(&rules, field_index, &field, err);
	struct event event = {.fields = fields};
	struct message message;
	char *topic = NULL;

	if (field.unknown)
		error_set(err,
			  "route.topic \"%s\" names a field that a canary does not fill in; "
			  "it has an aggregate type and an event type",
			  config->route.topic);
	else if (route != NULL && route_event(route, &event, &message, err) == REJECT_NONE)
		topic = xstrdup(message.topic.data);
	route_free(&route);
	return topic;
}

static bool follow(struct runner *runner, struct error *err)
{
	struct kafka_options kafka = command_kafka_options(runner->config);
	char *topic = topic_of(runner->config, runner->options->type, err);
	bool good;

	if (topic == NULL)
		return false;
	runner->reader = kafka_reader_new(&kafka, CONNECT_MS, err);
	if (runner->reader == NULL)
		verify_explain(&kafka, err);
	good = runner->reader != NULL && kafka_reader_add(runner->reader, topic, err) &&
	       kafka_reader_mark(runner->reader, err);
	free(topic);
	if (!good)
		return false;
	kafka_reader_follow(runner->reader, runner->fd);
	runner->io = loop_io_new(runner->loop, runner->fd, LOOP_READ, on_readable, runner);
	return true;
}

/* ---- its life ---- */

static void on_tick(void *arg)
{
	struct runner *runner = arg;
	struct pg_login login = command_login(runner->config, runner->options->dsn);

	if (runner->pg == NULL)
		runner->pg = pg_open(runner->loop, &login, &pg_events, runner);
	/* What librdkafka has to say about connections wakes nobody. */
	read_records(runner);
	loop_timer_set(runner->tick, TICK_US);
}

static void on_stop(int signo, void *arg)
{
	struct runner *runner = arg;

	(void)signo;
	runner->status = runner->canary.lost_in_row > 0 ? EXIT_FAILED : EXIT_DONE;
	loop_stop(runner->loop);
}

static int metrics_page(void *arg, const char *path, char **body, size_t *len)
{
	const struct runner *runner = arg;

	(void)path;
	*body = metrics_print_canary(&runner->metrics, len);
	return 200;
}

static const struct http_page pages[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics_page},
    {NULL, NULL, NULL},
};

static void say_of_what(struct runner *runner)
{
	const struct config *config = runner->config;
	char *database = pgsession_keyword(config->database.dsn, "dbname"), *outbox;
	struct pgname table;
	struct error err;

	pgname_parse(config->outbox.table, &table, &err);
	pgname_print(&table, runner->table);
	outbox = xasprintf("%s.%s", table.schema, table.table);
	log_setup((enum log_level)config->log.level, (enum log_format)config->log.format);
	log_about(database, outbox);
	metrics_init(&runner->metrics, database, outbox);
	runner->metrics.canary.up = 1;
	free(database);
	free(outbox);
}

static bool set_up(struct runner *runner, struct error *err)
{
	const char *listen = runner->options->listen;

	runner->loop = loop_new();
	runner->next = loop_timer_new(runner->loop, on_next, runner);
	runner->late = loop_timer_new(runner->loop, on_late, runner);
	runner->tick = loop_timer_new(runner->loop, on_tick, runner);
	runner->stop[0] = loop_signal_new(runner->loop, SIGTERM, on_stop, runner);
	runner->stop[1] = loop_signal_new(runner->loop, SIGINT, on_stop, runner);
	runner->identity = identity_sql();
	runner->header = verify_header_of(runner->config, "event_id");
	runner->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (runner->fd < 0)
		return error_set(err, "cannot make an eventfd: %s", strerror(errno));
	if (listen != NULL) {
		runner->http = http_new(runner->loop, listen, pages, runner, err);
		if (runner->http == NULL)
			return false;
		log_fact(LOG_INFO, "http_listens",
			 LOG_FIELDS(field_text("address", http_address(runner->http))),
			 "http listens on %s", http_address(runner->http));
	}
	return follow(runner, err);
}

static void take_down(struct runner *runner)
{
	pg_close(&runner->pg);
	http_free(&runner->http);
	loop_io_free(&runner->io);
	kafka_reader_free(&runner->reader);
	for (int i = 0; i < 2; i++)
		loop_signal_free(&runner->stop[i]);
	loop_timer_free(&runner->next);
	loop_timer_free(&runner->late);
	loop_timer_free(&runner->tick);
	loop_free(&runner->loop);
	if (runner->fd >= 0)
		close(runner->fd);
	metrics_fini(&runner->metrics);
	free(runner->identity);
	free(runner->insert);
	free(runner->header);
}

int canary_run(const struct config *config, const struct canary_options *options)
{
	struct runner runner = {.config = config, .options = options, .status = EXIT_DONE};
	struct error err;

	say_of_what(&runner);
	if (set_up(&runner, &err)) {
		loop_timer_set(runner.tick, 0);
		loop_timer_set(runner.next, 0);
		loop_run(runner.loop);
	} else {
		runner.status = command_failed("verify", &err);
	}
	take_down(&runner);
	return runner.status;
}
