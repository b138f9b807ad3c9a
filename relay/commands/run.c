/* SPDX-License-Identifier: ISC */
/*
 * run.c - the command `run`: builds the parts, ties them together, takes them down in order
 */
#include "commands.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/pgname.h"
#include "base/xalloc.h"
#include "config.h"
#include "core/worker.h"
#include "desk.h"
#include "http.h"
#include "kafka.h"
#include "outbox/outbox.h"
#include "postgres.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* A stop waits so long for acknowledgements before it leaves the rest to the next start: well under
 * the 30 s after which orchestrators kill. Sending a producer's last words takes a second of it at
 * most. */
enum { STOP_PATIENCE_US = 10 * 1000 * 1000, SINK_PATIENCE_MS = 1000 };

enum { SIGNALS = 4, FILES_MIN = 32 };

struct daemon {
	const char *config_path;
	struct config *config;
	struct desk desk;
	struct sink *sink;
	struct source *source;
	struct route *route;
	struct encoder *encoder; /* NULL: nothing is encoded */
	struct http *http;
	struct pages pages;
	char *outbox, *database; /* owned; names for people */
	struct loop_timer *patience, *watchdog;
	struct loop_signal *signals[SIGNALS];
	int64_t watchdog_us; /* how often it is fed */
	bool stopping;
	bool working; /* as last logged */
};

/* ---- what the worker tells ---- */

static void on_changed(void *arg)
{
	struct daemon *daemon = arg;
	struct worker_status status;
	worker_status(daemon->desk.worker, &status);
	if (status.flapping)
		return;
	if (status.working && !daemon->working)
		log_fact(LOG_INFO, "ready",
			 LOG_FIELDS(field_text("brokers", kafka_bootstrap(daemon->sink)),
				    field_number("shards_owned", shards_owned(status.shards)),
				    field_number("shards", status.shards->count)),
			 "ready: publishing %s to %s", daemon->config->outbox.table,
			 kafka_bootstrap(daemon->sink));
	/* Between the states of work nothing is said; when the worker leaves them, the next time
	 * is.
	 */
	if (status.working || !status.acquired)
		daemon->working = status.working;
}

/* ---- signals ---- */

static void on_patience(void *arg)
{
	struct daemon *daemon = arg;
	struct worker_status status;
	worker_status(daemon->desk.worker, &status);
	log_fact(LOG_WARNING, "stop_timeout",
		 LOG_FIELDS(field_number("in_flight", (int64_t)status.in_flight)),
		 "%s in %d s; what is not settled is published again at the next start",
		 status.in_flight > 0 ? "Kafka has not acknowledged everything"
				      : "the database has not settled everything",
		 STOP_PATIENCE_US / 1000000);
	worker_stop(daemon->desk.worker, true);
}

static void on_stop_signal(int signo, void *arg)
{
	struct daemon *daemon = arg;
	struct error err; /* it sees the end anyway */
	log_fact(LOG_INFO, "stopping", LOG_FIELDS(field_number("signal", signo)), "%s: %s",
		 strsignal(signo),
		 daemon->stopping ? "stopping immediately"
				  : "settling what is in flight, then stopping");
	notify_manager("STOPPING=1", &err);
	loop_timer_set(daemon->patience, STOP_PATIENCE_US);
	bool now = daemon->stopping;
	daemon->stopping = true;
	worker_stop(daemon->desk.worker, now);
}

/* Without order no key waits: all that is rejected of a key is set aside at once. */
static enum reject_policy policy_of(const struct config *config)
{
	static const enum reject_policy policies[] = {[ON_REJECT_HALT] = REJECT_HALTS,
						      [ON_REJECT_DEAD_LETTER] = REJECT_DEAD_LETTERS,
						      [ON_REJECT_PARK] = REJECT_PARKS};
	enum reject_policy policy = policies[config->outbox.on_reject];
	bool ordered = config->outbox.ordering == ORDERING_KEY;
	return policy == REJECT_PARKS && !ordered ? REJECT_DEAD_LETTERS : policy;
}

static void engine_options(const struct config *config, struct engine_options *options)
{
	*options = (struct engine_options){
	    .batch_rows = config->outbox.batch_rows,
	    .batch_bytes = config->outbox.batch_bytes,
	    .policy = policy_of(config),
	    .transactional = config->kafka.delivery == DELIVERY_EXACTLY_ONCE,
	};
}

static void on_option_changed(const char *path, bool applied, void *arg)
{
	(void)arg;
	if (applied)
		log_fact(LOG_INFO, "option_changed", LOG_FIELDS(field_text("option", path)),
			 "reload: %s has changed", path);
	else
		log_fact(LOG_WARNING, "option_needs_restart",
			 LOG_FIELDS(field_text("option", path)),
			 "reload: %s has changed; it takes a restart", path);
}

static void reload(struct daemon *daemon)
{
	struct config_problems problems = {0};
	struct config *fresh = command_load(daemon->config_path, &problems);
	for (size_t i = 0; i < problems.count; i++)
		log_fact(LOG_ERROR, "reload_refused", NULL, "reload: %s", problems.items[i].text);
	config_problems_free(&problems);
	if (fresh == NULL) {
		log_fact(LOG_ERROR, "reload_refused", NULL,
			 "reload: nothing is changed; fix %s and send SIGHUP again",
			 daemon->config_path);
		return;
	}
	struct config *config = daemon->config;
	struct engine_options options;
	config_reload(config, fresh, on_option_changed, NULL);
	const struct kafka_options kafka = command_kafka_options(config);
	kafka_sink_reload(daemon->sink, &kafka);
	config_free(&fresh);
	log_setup((enum log_level)config->log.level, (enum log_format)config->log.format);
	engine_options(config, &options);
	daemon->pages.stall_us = config->outbox.stall_timeout_ms * 1000;
	worker_reload(daemon->desk.worker, &options, daemon->pages.stall_us);
	log_fact(LOG_INFO, "reloaded", NULL, "reload: done");
}

static void on_hup(int signo, void *arg)
{
	(void)signo;
	reload(arg);
}

static void on_usr1(int signo, void *arg)
{
	struct daemon *daemon = arg;
	(void)signo;
	pages_log_status(&daemon->pages);
}

static void on_watchdog(void *arg)
{
	struct daemon *daemon = arg;
	struct error err; /* the next one may arrive */
	if (pages_healthy(&daemon->pages))
		notify_manager("WATCHDOG=1", &err);
	loop_timer_set(daemon->watchdog, daemon->watchdog_us);
}

/* What came before this is pending (main.c) and is delivered now; the callbacks run once the loop
 * does. */
static void catch_signals(struct daemon *daemon)
{
	struct loop *loop = daemon->desk.loop;
	sigset_t none;
	daemon->signals[0] = loop_signal_new(loop, SIGTERM, on_stop_signal, daemon);
	daemon->signals[1] = loop_signal_new(loop, SIGINT, on_stop_signal, daemon);
	daemon->signals[2] = loop_signal_new(loop, SIGHUP, on_hup, daemon);
	daemon->signals[3] = loop_signal_new(loop, SIGUSR1, on_usr1, daemon);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* On the way out no signal ends the process any more: its exit status says how it went. */
static void release_signals(struct daemon *daemon)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < SIGNALS; i++)
		loop_signal_free(&daemon->signals[i]);
}

/* ---- up and down ---- */

static void make_shard(struct daemon *daemon)
{
	struct engine_options options;
	engine_options(daemon->config, &options);
	daemon->patience = loop_timer_new(daemon->desk.loop, on_patience, daemon);
	daemon->watchdog = loop_timer_new(daemon->desk.loop, on_watchdog, daemon);
	desk_worker(&daemon->desk, &options, daemon->config->outbox.stall_timeout_ms * 1000);
}

static bool make_ends(struct daemon *daemon, struct error *err)
{
	const struct config *config = daemon->config;
	struct kafka_options kafka = command_kafka_transactions(config);
	kafka.metrics = &daemon->desk.metrics;
	daemon->sink = kafka_sink_new(daemon->desk.loop, &kafka, &worker_sink_events,
				      daemon->desk.worker, err);
	if (daemon->sink == NULL)
		return false;
	daemon->source =
	    outbox_new(daemon->desk.loop, config, kafka_sink_max_bytes(daemon->sink),
		       &daemon->desk.metrics, &worker_source_events, daemon->desk.worker, err);
	if (daemon->source == NULL)
		return false;
	const struct route_rules rules = route_rules_of(config);
	daemon->route = route_new(&rules, outbox_field, daemon->source, err);
	if (daemon->route == NULL)
		return false;
	worker_attach(daemon->desk.worker, daemon->source, daemon->sink, daemon->route);
	if (!encode_is_needed(&config->encode))
		return true;
	daemon->encoder = encoder_new(&config->encode, &rules, config->outbox.columns.payload,
				      outbox_field, daemon->source, err);
	if (daemon->encoder == NULL)
		return false;
	worker_encode(daemon->desk.worker, daemon->encoder);
	return true;
}

static bool make_http(struct daemon *daemon, struct error *err)
{
	daemon->pages = (struct pages){.metrics = &daemon->desk.metrics,
				       .worker = daemon->desk.worker,
				       .outbox = daemon->outbox,
				       .database = daemon->database,
				       .brokers = kafka_bootstrap(daemon->sink),
				       .stall_us = daemon->config->outbox.stall_timeout_ms * 1000,
				       .started_s = (double)clock_monotonic_us() / 1e6};
	if (daemon->config->http.listen[0] == '\0')
		return true;
	daemon->http = http_new(daemon->desk.loop, daemon->config->http.listen, relay_pages,
				&daemon->pages, err);
	if (daemon->http == NULL)
		return false;
	log_fact(LOG_INFO, "http_listens",
		 LOG_FIELDS(field_text("address", http_address(daemon->http))),
		 "http listens on %s", http_address(daemon->http));
	return true;
}

static void start_watchdog(struct daemon *daemon)
{
	int64_t asked = notify_watchdog_us();
	if (asked > 0) {
		daemon->watchdog_us = asked / 2;
		loop_timer_set(daemon->watchdog, 0);
	}
	/* Ready to be asked; /readyz says whether the peers are there. */
	struct error err;
	if (!notify_manager("READY=1", &err))
		log_fact(LOG_WARNING, "manager_not_told", NULL, "%s", err.text);
}

/* With fewer the loop, a session and a broker's connection do not come about together, and
 * libraries fail in ways of their own: libevent ends the process, librdkafka's embedded broker
 * aborts. */
static bool has_descriptors(struct error *err)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES_MIN)
		return true;
	return error_set(err,
			 "file descriptors are short: the limit of open files is %llu, and the "
			 "relay needs at least %d; raise LimitNOFILE in the unit, or ulimit -n",
			 (unsigned long long)limit.rlim_cur, FILES_MIN);
}

/* From the configuration, so that metrics and lines of the log say it before the first session, and
 * it never changes. The name was parsed when the file was read. */
static void say_of_what(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	struct pgname table;
	struct error err;
	char *database = pgsession_keyword(config->database.dsn, "dbname");
	char *host = pgsession_keyword(config->database.dsn, "host");
	pgname_parse(config->outbox.table, &table, &err);
	daemon->outbox = xasprintf("%s.%s", table.schema, table.table);
	daemon->database = xasprintf("%s%s%s", database, host[0] != '\0' ? " at " : "", host);
	log_about(database, daemon->outbox);
	metrics_init(&daemon->desk.metrics, database, daemon->outbox);
	free(database);
	free(host);
}

static bool set_up(struct daemon *daemon, struct error *err)
{
	daemon->desk.metrics.version = OUTBOX_RELAY_VERSION;
	daemon->desk.metrics.librdkafka = kafka_version();
	daemon->desk.metrics.libpq = outbox_libpq_version();
	daemon->desk.changed = on_changed;
	daemon->desk.owner = daemon;
	desk_open(&daemon->desk);
	catch_signals(daemon);
	make_shard(daemon);
	return make_ends(daemon, err) && make_http(daemon, err);
}

static void take_down(struct daemon *daemon)
{
	http_free(&daemon->http);
	/* The sink first: it may still hold pointers into the worker's batch, which is kept then,
	 * and known here so that it is no leak. */
	static struct worker *kept;
	if (!kafka_sink_free(&daemon->sink, SINK_PATIENCE_MS))
		kept = daemon->desk.worker;
	outbox_free(&daemon->source);
	encoder_free(&daemon->encoder);
	route_free(&daemon->route);
	release_signals(daemon);
	loop_timer_free(&daemon->patience);
	loop_timer_free(&daemon->watchdog);
	desk_free(&daemon->desk, kept != NULL);
	metrics_fini(&daemon->desk.metrics);
	free(daemon->outbox);
	free(daemon->database);
	config_free(&daemon->config);
}

static int run(struct daemon *daemon)
{
	struct error err;
	int status;
	const struct config *config = daemon->config;
	log_setup((enum log_level)config->log.level, (enum log_format)config->log.format);
	say_of_what(daemon);
	if (!has_descriptors(&err) || !set_up(daemon, &err)) {
		log_fact(LOG_ERROR, "setup_refused", NULL, "%s", err.text);
		daemon->desk.failed = true;
	} else {
		log_fact(LOG_INFO, "started",
			 LOG_FIELDS(field_text("version", OUTBOX_RELAY_VERSION),
				    field_text("librdkafka", kafka_version()),
				    field_text("libpq", outbox_libpq_version())),
			 "outbox-relay %s, librdkafka %s, libpq %s: table %s, brokers %s",
			 OUTBOX_RELAY_VERSION, kafka_version(), outbox_libpq_version(),
			 config->outbox.table, kafka_bootstrap(daemon->sink));
		start_watchdog(daemon);
		worker_start(daemon->desk.worker);
		loop_run(daemon->desk.loop);
		log_fact(LOG_INFO, "stopped", NULL, "stopped");
	}
	take_down(daemon);
	status = daemon->desk.failed ? EXIT_FAILED : EXIT_DONE;
	if (kafka_left_behind())
		_exit(status);
	return status;
}

static const char help[] =
    "usage: outbox-relay run [-c FILE]\n"
    "\n"
    "Runs the relay in the foreground.\n"
    "\n"
    "  -c, --config FILE  the configuration (default " COMMAND_CONFIG_FILE ")\n"
    "  -h, --help         this text\n"
    "\n"
    "SIGTERM, SIGINT  settle what is in flight and stop; a second one stops immediately\n"
    "SIGHUP           read the configuration again\n"
    "SIGUSR1          log a status line\n"
    "\n"
    "Exit status: 0 stopped, 1 failed (the set-up is wrong), 2 usage or configuration\n";

int cmd_run(int argc, char **argv)
{
	struct daemon daemon = {.config_path = COMMAND_CONFIG_FILE};
	int status = command_options(argc, argv, help, &daemon.config_path, NULL);

	if (status >= 0)
		return status;
	daemon.config = command_config(daemon.config_path);
	return daemon.config ? run(&daemon) : EXIT_USAGE;
}
