/* SPDX-License-Identifier: ISC */
/*
 * import_debezium.c - the command `import-debezium`: a configuration made from one of Debezium
 */
#include "import_debezium.h"

#include "base/secret_text.h"
#include "base/xalloc.h"
#include "commands.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 16 << 20 };

static const char HELP[] =
    "Usage: outbox-relay import-debezium FILE [--dsn DSN] [--bootstrap SERVERS] [--table TABLE]\n"
    "\n"
    "Reads the configuration of a Debezium connector for PostgreSQL with an outbox event router:\n"
    "its JSON, also as the REST API of Kafka Connect answers it, or the application.properties of\n"
    "Debezium Server. Writes a configuration of this relay to standard output, and to standard\n"
    "error a line for each option that could not be carried over. Connects to nothing. A FILE of\n"
    "\"-\" is standard input.\n"
    "\n"
    "      --dsn DSN             connect with this instead of what database.* in FILE say\n"
    "      --bootstrap SERVERS   brokers, if FILE does not name them, or others\n"
    "      --table TABLE         the outbox, if FILE names several tables\n"
    "  -h, --help                this text\n"
    "\n"
    "Exit status: 0 a configuration was written, 1 FILE cannot be read, 2 wrong usage, or FILE\n"
    "holds no such configuration.\n";

struct arguments {
	const char *path, *file; /* path: of -c, which means nothing here */
	const char *dsn, *bootstrap, *table;
};

/* ---- the configuration ---- */

bool import_plan(struct import *import, struct error *err)
{
	import_columns(import);
	import_formats(import);
	import_placements(import);
	return import_table(import, err);
}

/* Nothing, if the file says nothing of it. */
static void write_log(struct import *import)
{
	static const char *const options[] = {"quarkus.log.level", "quarkus.log.console.json",
					      "quarkus.log.console.json.enabled"};
	bool any = false;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		any |= debezium_find(import->from, options[i]) != NULL;
	if (!any)
		return;
	conf_open(&import->conf, "log");
	import_group(import, "log", NULL);
	conf_close(&import->conf);
}

void import_free(struct import *import)
{
	struct config_columns *columns = &import->columns;

	free(columns->id);
	free(columns->event_id);
	free(columns->aggregate_type);
	free(columns->aggregate_id);
	free(columns->event_type);
	free(columns->payload);
	free(columns->headers);
	free(columns->created_at);
	import_strings_free(&import->route_headers);
	import_strings_free(&import->envelope);
	free(import->partition);
	free(import->conf.text);
}

static void write_head(struct import *import)
{
	conf_comment(&import->conf, "Made by outbox-relay import-debezium. docs/debezium.md says "
				    "what becomes of each option.");
	conf_comment(&import->conf, "Rows that are in the table when the relay starts count as not "
				    "yet published,");
	conf_comment(&import->conf, "and a row that is deleted before it is published is never "
				    "published.");
}

static void write_all(struct import *import)
{
	write_head(import);
	import_database(import);
	import_outbox(import);
	import_kafka(import);
	import_route(import);
	import_encode(import);
	write_log(import);
	import_note_lost(import);
}

/* ---- the command ---- */

static int take_arguments(int argc, char **argv, struct arguments *arguments)
{
	const struct command_flag flags[] = {
	    {"dsn", NULL, command_take_utf8, &arguments->dsn},
	    {"bootstrap", NULL, command_take_utf8, &arguments->bootstrap},
	    {"table", NULL, command_take_utf8, &arguments->table},
	    {0}};
	int status = command_parse(argc, argv, HELP, &arguments->path, flags);

	if (status >= 0)
		return status;
	if (optind == argc) {
		fputs("outbox-relay import-debezium: no FILE is given; try: outbox-relay "
		      "import-debezium --help\n",
		      stderr);
		return EXIT_USAGE;
	}
	arguments->file = argv[optind++];
	return command_surplus(argc, argv);
}

static int wrong(const char *format, const char *what, const char *why)
{
	struct import_notes notes = {NULL, 0};

	import_note(&notes, what, NULL, format, why);
	fprintf(stderr, "outbox-relay import-debezium: %s\n", notes.lines[0]);
	import_notes_free(&notes);
	return EXIT_USAGE;
}

/* NULL if it cannot be read, which is told. */
static char *read_file(const char *path)
{
	struct error err;
	char *text = strcmp(path, "-") == 0 ? secret_slurp_fd(STDIN_FILENO, FILE_MAX, &err)
					    : secret_slurp(path, FILE_MAX, &err);

	if (text == NULL)
		wrong("cannot be read: %s", path, err.text);
	return text;
}

static int import_text_of(const char *text, const struct arguments *arguments)
{
	struct import_notes notes = {NULL, 0};
	struct error err;
	struct debezium *debezium = debezium_read(text, &notes, &err);
	struct import import = {.from = debezium,
				.dsn = arguments->dsn,
				.bootstrap = arguments->bootstrap,
				.table = arguments->table,
				.notes = &notes};
	int status = EXIT_DONE;

	if (debezium == NULL) {
		status = wrong("it %s", arguments->file, err.text);
	} else if (!import_plan(&import, &err)) {
		status = wrong("%s", "--table", err.text);
	} else {
		write_all(&import);
		fputs(import.conf.text, stdout);
		for (size_t i = 0; i < notes.count; i++)
			fprintf(stderr, "%s\n", notes.lines[i]);
	}
	import_free(&import);
	import_notes_free(&notes);
	debezium_free(&debezium);
	return status;
}

int cmd_import_debezium(int argc, char **argv)
{
	struct arguments arguments = {.path = COMMAND_CONFIG_FILE};
	int status = take_arguments(argc, argv, &arguments);
	struct error err;
	char *text;

	if (status >= 0)
		return status;
	if (arguments.dsn != NULL && !pg_dsn_check("--dsn", arguments.dsn, &err)) {
		fprintf(stderr, "outbox-relay import-debezium: %s\n", err.text);
		return EXIT_USAGE;
	}
	text = read_file(arguments.file);
	if (text == NULL)
		return EXIT_FAILED;
	status = import_text_of(text, &arguments);
	secret_wipe(&text);
	return status;
}
