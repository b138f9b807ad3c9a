/* SPDX-License-Identifier: ISC */
/*
 * commands.h - the commands, and what they share
 *
 * Each gets argc and argv from its own name on, parses its options, prints data on stdout and words
 * on stderr, and returns the exit status.
 */
#ifndef OUTBOX_COMMANDS_H
#define OUTBOX_COMMANDS_H

#include "base/pgname.h"
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

/* What is wrong where a command reads or writes topics, and only the relay can. */
#define COMMAND_EMBEDDED                                                                           \
	"kafka.embedded keeps its topics within the relay's process; name its address in "         \
	"kafka.bootstrap_servers, with kafka.embedded = false"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int cmd_check(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_dlq(int argc, char **argv);
int cmd_handover(int argc, char **argv);
int cmd_health(int argc, char **argv);
int cmd_import_debezium(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_reconcile(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_shadow(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_verify(int argc, char **argv);

/* config_load, with every part of the relay asked for what it knows of a value: also for a reload.
 */
struct config *command_load(const char *path, struct config_problems *problems);

/* An option of a command beside -c and --help, which all have. */
struct command_flag {
	const char *name; /* "timeout"; NULL ends a list of them */
	bool *set;	  /* becomes true if it is given; may be NULL */
	/* NULL: it has no argument. Otherwise it takes the text, which lives as long as argv does;
	 * false and err, as what is behind "--timeout ", if it is none of its values. */
	bool (*take)(void *to, const char *text, struct error *err);
	void *to;
};

/* Some that take an argument: any, to a const char *; the same, of UTF-8, as values in the database
 * are, or that names of topics may begin with; a duration, to an int64_t of milliseconds; a whole
 * number from 0 on, to an int64_t. */
bool command_take_text(void *to, const char *text, struct error *err);
bool command_take_utf8(void *to, const char *text, struct error *err);
bool command_take_prefix(void *to, const char *text, struct error *err);
bool command_take_duration(void *to, const char *text, struct error *err);
bool command_take_count(void *to, const char *text, struct error *err);

/* A whole number within bounds, for others. False and err, as above. */
bool command_number(const char *text, int64_t least, int64_t most, int64_t *number,
		    struct error *err);

/* Parses the options of a command; flags may be NULL. What is no option comes last in argv then,
 * from optind on (getopt_long(3)). The exit status if the command has nothing more to do, -1 to go
 * on. */
int command_parse(int argc, char **argv, const char *help, const char **path,
		  const struct command_flag *flags);

/* The same for a command that has nothing but options. */
int command_options(int argc, char **argv, const char *help, const char **path,
		    const struct command_flag *flags);

/* -1 if getopt has taken every argument; otherwise complains of the first it has not. */
int command_surplus(int argc, char **argv);

/* Loads the file, or prints all that is wrong with it on stderr and returns NULL. */
struct config *command_config(const char *path);
/* The same, and the name of the outbox that it says. */
struct config *command_outbox(const char *path, struct pgname *name);

/* As the configuration has them; it is borrowed, and there are no metrics. */
struct kafka_options command_kafka_options(const struct config *config);

/* The same, with what kafka.delivery = "exactly-once" takes, where it is set. */
struct kafka_options command_kafka_transactions(const struct config *config);

/* Of Kafka's transactions: the relay gives a batch up before that. */
int64_t command_transaction_timeout_ms(const struct config *config);

/* How to connect to the configured database, or with this dsn unless it is NULL; borrows from both.
 * config may be NULL then. */
struct pg_login command_login(const struct config *config, const char *dsn);

/* pgsync_connect to it, with its password read anew. */
PGconn *command_connect(const struct config *config, const char *application, struct error *err);

/* Prints JSON for a program on stdout. */
void command_print(const json_t *json);

/* A number of a result; null where it is NULL. */
json_t *command_result_number(const PGresult *result, int row, const char *column);

/* Whether all that was printed on stdout is written. main says it if not: a command asks only if it
 * has to do something about it. */
bool command_flush(void);

/* The exit status of a command that ended with this one: EXIT_FAILED if it has done everything but
 * not all of its output is written, which it says on stderr. A reader that has gone is no failure.
 */
int command_finish(const char *command, int status);

/* Says on stderr why a command failed and returns EXIT_FAILED. */
int command_failed(const char *command, const struct error *err);

/* Says on stderr what is wrong with what a command was given, and returns EXIT_USAGE. */
int command_wrong(const char *command, const char *words);

/* Says on stderr what to do about the last statement that the database refused, if that is plain.
 */
void command_hint(void);

#endif
