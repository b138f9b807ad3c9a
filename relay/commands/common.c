/* SPDX-License-Identifier: ISC */
/*
 * common.c - what the commands share: options, loading the configuration, saying why something
 * failed
 */
#include "base/pgname.h"
#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "commands.h"
#include "core/encode.h"
#include "core/route.h"
#include "kafka.h"
#include "postgres.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int command_surplus(int argc, char **argv)
{
	if (optind == argc)
		return -1;
	fprintf(stderr,
		"outbox-relay %s: unexpected argument \"%s\"; try: outbox-relay %s --help\n",
		argv[0], argv[optind], argv[0]);
	return EXIT_USAGE;
}

enum { FLAGS_MAX = 24, FLAG = 256 }; /* beyond any character, which a short option is */

static size_t count_of(const struct command_flag *flags)
{
	size_t count = 0;

	while (flags && flags[count].name)
		count++;
	assert(count <= FLAGS_MAX);
	return count;
}

static void options_of(const struct command_flag *flags, struct option *options)
{
	size_t count = count_of(flags);

	for (size_t i = 0; i < count; i++)
		options[i] =
		    (struct option){flags[i].name, flags[i].take ? required_argument : no_argument,
				    NULL, FLAG + (int)i};
	options[count++] = (struct option){"config", required_argument, NULL, 'c'};
	options[count++] = (struct option){"help", no_argument, NULL, 'h'};
	options[count] = (struct option){0};
}

static bool take(const char *command, const struct command_flag *flag)
{
	struct error err;

	if (flag->set)
		*flag->set = true;
	if (!flag->take || flag->take(flag->to, optarg, &err))
		return true;
	fprintf(stderr, "outbox-relay %s: --%s %s\n", command, flag->name, err.text);
	return false;
}

int command_parse(int argc, char **argv, const char *help, const char **path,
		  const struct command_flag *flags)
{
	struct option options[FLAGS_MAX + 3];
	int option;

	options_of(flags, options);
	optind = 1;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (option == 'c') {
			*path = optarg;
		} else if (option == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		} else if (option < FLAG) {
			fprintf(stderr, "try: outbox-relay %s --help\n", argv[0]);
			return EXIT_USAGE;
		} else if (!take(argv[0], &flags[option - FLAG])) {
			return EXIT_USAGE;
		}
	}
	return -1;
}

int command_options(int argc, char **argv, const char *help, const char **path,
		    const struct command_flag *flags)
{
	int status = command_parse(argc, argv, help, path, flags);

	return status >= 0 ? status : command_surplus(argc, argv);
}

bool command_take_text(void *to, const char *text, struct error *err)
{
	(void)err;
	*(const char **)to = text;
	return true;
}

bool command_take_duration(void *to, const char *text, struct error *err)
{
	if (units_parse_duration(text, to))
		return true;
	return error_set(err, "\"%s\" is no duration; write it like 30s or 500ms", text);
}

bool command_number(const char *text, int64_t least, int64_t most, int64_t *number,
		    struct error *err)
{
	if (units_parse_number(text, least, most, number))
		return true;
	if (least == INT64_MIN && most == INT64_MAX)
		return error_set(err, "\"%s\" is no whole number of 64 bits", text);
	if (most == INT64_MAX)
		return error_set(err, "\"%s\" is no whole number from %" PRId64 " on", text, least);
	return error_set(err, "\"%s\" is no whole number from %" PRId64 " to %" PRId64, text, least,
			 most);
}

bool command_take_count(void *to, const char *text, struct error *err)
{
	return command_number(text, 0, INT64_MAX, to, err);
}

bool command_take_utf8(void *to, const char *text, struct error *err)
{
	size_t len;

	for (const char *at = text; *at != '\0'; at += len) {
		len = text_character(at, 4);
		if (len == 0)
			return error_set(err, "has a value that is no UTF-8");
	}
	return command_take_text(to, text, err);
}

bool command_take_prefix(void *to, const char *text, struct error *err)
{
	char *name = xasprintf("%sx", text);
	bool legal = *text != '\0' && route_topic_is_legal(slice_of(name));

	free(name);
	*(const char **)to = text;
	return legal || error_set(err, "\"%s\" is not how the name of a topic may begin", text);
}

void command_hint(void)
{
	static const struct {
		const char *state, *words;
	} hints[] = {
	    {"55P03", "nothing has changed; try again when the transaction that holds the lock has "
		      "ended"},
	    {"40P01", "nothing has changed; try again"},
	    {"42P01", "run `outbox-relay migrate` as the table's owner, or fix outbox.table"},
	    {"42703", "run `outbox-relay migrate` as the table's owner, or fix outbox.columns (see "
		      "`outbox-relay migrate --adopt`)"},
	    {"42501", COMMAND_OPERATOR_HINT},
	};

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (strcmp(pgsync_sqlstate(), hints[i].state) == 0)
			fprintf(stderr, "%s\n", hints[i].words);
	}
}

int64_t command_transaction_timeout_ms(const struct config *config)
{
	return config->outbox.stall_timeout_ms + 10 * 1000;
}

struct kafka_options command_kafka_options(const struct config *config)
{
	return (struct kafka_options){
	    .bootstrap_servers = config->kafka.bootstrap_servers,
	    .embedded = config->kafka.embedded,
	    .properties = &config->kafka.properties,
	    .sasl_password_file = config->kafka.sasl_password_file,
	    .oauthbearer_token_command = config->kafka.oauthbearer_token_command,
	};
}

struct kafka_options command_kafka_transactions(const struct config *config)
{
	struct kafka_options options = command_kafka_options(config);

	if (config->kafka.delivery != DELIVERY_EXACTLY_ONCE)
		return options;
	options.transactional_prefix = "outbox-relay";
	options.ledger_topic = config->kafka.ledger_topic;
	options.transaction_timeout_ms = (int)command_transaction_timeout_ms(config);
	return options;
}

static bool judge_password(const struct config *config, const char *option, const char *text,
			   struct error *err)
{
	if (*text == '\0' || !pg_dsn_has_password(config->database.dsn))
		return true;
	return error_set(err, "%s is set, and database.dsn has a password; remove one", option);
}

static bool judge_route(const struct config *config, struct error *err)
{
	const struct route_rules rules = route_rules_of(config);

	return route_check_rules(&rules, err) && route_check_fields(&rules, err);
}

static bool judge(const struct config *config, const char *option, const char *text,
		  struct error *err)
{
	if (strcmp(option, "database.dsn") == 0)
		return pg_dsn_check("database.dsn", text, err);
	if (strncmp(option, "database.password_", 18) == 0)
		return judge_password(config, option, text, err);
	if (strcmp(option, "kafka.sasl_password_file") == 0 ||
	    strcmp(option, "kafka.oauthbearer_token_command") == 0) {
		struct kafka_options options = command_kafka_options(config);

		if (strcmp(option, "kafka.sasl_password_file") == 0)
			options.oauthbearer_token_command = "";
		else
			options.sasl_password_file = "";
		return kafka_check_secrets(&options, err);
	}
	if (strcmp(option, "kafka.properties") == 0)
		return kafka_check_property(text, err);
	if (strcmp(option, "route") == 0)
		return judge_route(config, err);
	if (strcmp(option, "encode") == 0)
		return encode_check(&config->encode, err) && encode_check_fields(config, err);
	if (strcmp(option, "encode.envelope") == 0)
		return encode_check_member(text, &config->outbox.columns, err);
	if (strcmp(option, "route.dead_letter_topic") == 0)
		return route_check_dead_letters(text, config->route.topic, err);
	if (strncmp(option, "route.", 6) == 0)
		return route_check(option, text, config, err);
	return true;
}

/* Of the usual headers one that names a column the table has not; one that stood in the file was
 * refused. */
static void drop_header(struct config *config, const char *header)
{
	struct config_strings *headers = &config->route.headers;

	for (size_t i = 0; i < headers->count; i++) {
		if (strcmp(headers->items[i], header) != 0)
			continue;
		free(headers->items[i]);
		headers->count--;
		memmove(&headers->items[i], &headers->items[i + 1],
			(headers->count - i) * sizeof(headers->items[0]));
		return;
	}
}

/* Templates that do not stand in the file name the usual columns. */
static bool fit_defaults(struct config *config, const char *path, struct config_problems *problems)
{
	const struct config_columns *columns = &config->outbox.columns;
	struct error err;

	if (*columns->event_type == '\0')
		drop_header(config, "type=${event_type}");
	if (route_check("route.topic", config->route.topic, config, &err))
		return true;
	problems->items = xcalloc(1, sizeof(*problems->items));
	problems->items[problems->count++].text = xasprintf(
	    "%s: route.topic is \"%s\" unless it is given, and outbox.columns.aggregate_type is "
	    "empty; give route.topic",
	    path, config->route.topic);
	return false;
}

struct config *command_load(const char *path, struct config_problems *problems)
{
	struct config *config = config_load(path, judge, problems);

	if (config && !fit_defaults(config, path, problems))
		config_free(&config);
	return config;
}

struct config *command_config(const char *path)
{
	struct config_problems problems = {NULL, 0};
	struct config *config = command_load(path, &problems);
	size_t i;

	for (i = 0; i < problems.count; i++)
		fprintf(stderr, "%s\n", problems.items[i].text);
	config_problems_free(&problems);
	return config;
}

struct config *command_outbox(const char *path, struct pgname *name)
{
	struct config *config = command_config(path);
	struct error err;

	if (config && !pgname_parse(config->outbox.table, name, &err)) {
		fprintf(stderr, "%s: outbox.table: %s\n", path, err.text);
		config_free(&config);
	}
	return config;
}

struct pg_login command_login(const struct config *config, const char *dsn)
{
	struct pg_login login = {.dsn = dsn};

	if (!config)
		return login;
	login.pooled = config->database.pooler == POOLER_SESSION;
	/* The owner's connection string has nothing to do with the relay's password. */
	if (!dsn) {
		login.dsn = config->database.dsn;
		config_password(config, &login.password);
	}
	return login;
}

PGconn *command_connect(const struct config *config, const char *application, struct error *err)
{
	struct pg_login login = command_login(config, NULL);

	return pgsync_connect(&login, application, err);
}

void command_print(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	fputc('\n', stdout);
}

json_t *command_result_number(const PGresult *result, int row, const char *column)
{
	return pgsync_text(result, row, column) ? json_integer(pgsync_number(result, row, column))
						: json_null();
}

bool command_flush(void)
{
	return fflush(stdout) == 0 && !ferror(stdout);
}

/* Whether whoever read it has had enough, as of `| head`. The error of a write that failed earlier
 * is not to be had any more. */
static bool is_reader_gone(void)
{
	struct pollfd out = {STDOUT_FILENO, POLLOUT, 0};

	return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int command_finish(const char *command, int status)
{
	const char *why;

	errno = 0;
	if (command_flush() || is_reader_gone())
		return status;
	why = errno != 0 ? strerror(errno) : "a write failed";
	fprintf(stderr,
		"outbox-relay %s: cannot write to standard output, so it is not all there: %s\n",
		command, why);
	return status == EXIT_DONE ? EXIT_FAILED : status;
}

int command_failed(const char *command, const struct error *err)
{
	fprintf(stderr, "outbox-relay %s: %s\n", command, err->text);
	return EXIT_FAILED;
}

int command_wrong(const char *command, const char *words)
{
	fprintf(stderr, "outbox-relay %s: %s\n", command, words);
	return EXIT_USAGE;
}
