/* SPDX-License-Identifier: ISC */
/*
 * commands.h - the commands, and what they share
 *
 * Each gets argc and argv from its own name on, parses its options, prints data on stdout and words
 * on stderr, and returns the exit status.
 */
#ifndef OUTBOX_COMMANDS_H
#define OUTBOX_COMMANDS_H

#include "config.h"
#include "kafka.h"
#include "postgres.h"

#include <jansson.h>
#include <libpq-fe.h>

#define COMMAND_CONFIG_FILE "/etc/outbox-relay/outbox-relay.conf"

/* What to do where the database refuses a command that an operator may give. */
#define COMMAND_OPERATOR_HINT                                                                      \
	"connect as a member of the role outbox_operator or outbox_relay (where it was migrated "  \
	"with --role ROLE: of ROLE_operator or ROLE); if it is one, run `outbox-relay migrate` "   \
	"as the table's owner, which grants the rights"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int cmd_check(int argc, char **argv);
int cmd_health(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);

/* config_load, with every part of the relay asked for what it knows of a value: also for a reload.
 */
struct config *command_load(const char *path, struct config_problems *problems);

/* Parses the options of a command that knows -c, --help and, unless json is NULL, --json. The exit
 * status if the
 * command has nothing more to do, -1 to go on. */
int command_options(int argc, char **argv, const char *help, const char **path, bool *json);

/* -1 if getopt has taken every argument; otherwise complains of the first it has not. */
int command_surplus(int argc, char **argv);

/* Loads the file, or prints all that is wrong with it on stderr and returns NULL. */
struct config *command_config(const char *path);

/* As the configuration has them; it is borrowed, and there are no metrics. */
struct kafka_options command_kafka_options(const struct config *config);

/* How to connect to the configured database, or with this dsn unless it is NULL; borrows from both.
 * config may be NULL then. */
struct pg_login command_login(const struct config *config, const char *dsn);

/* pgsync_connect to it, with its password read anew. */
PGconn *command_connect(const struct config *config, const char *application, struct error *err);

/* Prints JSON for a program on stdout. */
void command_print(const json_t *json);

/* Says on stderr why a command failed and returns EXIT_FAILED. */
int command_failed(const char *command, const struct error *err);

#endif
