/* SPDX-License-Identifier: ISC */
/*
 * common.c - what the commands share: options, loading the configuration, saying why something
 * failed
 */
#include "commands.h"
#include "core/route.h"
#include "kafka.h"
#include "postgres.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

int command_surplus(int argc, char **argv)
{
	if (optind == argc)
		return -1;
	fprintf(stderr,
		"outbox-relay %s: unexpected argument \"%s\"; try: outbox-relay %s --help\n",
		argv[0], argv[optind], argv[0]);
	return EXIT_USAGE;
}

int command_options(int argc, char **argv, const char *help, const char **path, bool *json)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"json", no_argument, NULL, 'j'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (option == 'c') {
			*path = optarg;
		} else if (option == 'j' && json != NULL) {
			*json = true;
		} else if (option == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		} else {
			fprintf(stderr, "try: outbox-relay %s --help\n", argv[0]);
			return EXIT_USAGE;
		}
	}
	return command_surplus(argc, argv);
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

static bool judge_password(const struct config *config, const char *option, const char *text,
			   struct error *err)
{
	if (*text == '\0' || !pg_dsn_has_password(config->database.dsn))
		return true;
	return error_set(err, "%s is set, and database.dsn has a password; remove one", option);
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
		return route_check_fields(config->route.topic, config->route.key,
					  &config->route.headers, err);
	if (strncmp(option, "route.", 6) == 0)
		return route_check(option, text, &config->outbox.columns, err);
	return true;
}

struct config *command_load(const char *path, struct config_problems *problems)
{
	return config_load(path, judge, problems);
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

int command_failed(const char *command, const struct error *err)
{
	fprintf(stderr, "outbox-relay %s: %s\n", command, err->text);
	return EXIT_FAILED;
}
