/*
 * cmd_check.c - the command `check`: runs every part of it and prints the findings
 */
#include "check.h"
#include "commands.h"
#include "xalloc.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: outbox-relay check [-c FILE] [--json]\n"
    "\n"
    "Validates the configuration, then connects to database and brokers and looks for what would\n"
    "keep the relay from working, or from keeping its promises. Changes nothing.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --json          a list of {level, what, remedy}\n"
    "      --help          this text\n"
    "\n"
    "Exit status: 0 no error (warnings may be there), 1 an error was found, 2 the file is wrong.\n";

static const char *const level_names[] = {"ok", "warn", "error"};

void check_add(struct check *check, enum check_level level, const char *remedy, const char *format,
	       ...)
{
	struct finding *finding;
	va_list args;
	char *what;

	va_start(args, format);
	if (vasprintf(&what, format, args) < 0)
		abort();
	va_end(args);
	check->items = xrealloc(check->items, (check->count + 1) * sizeof(*check->items));
	finding = &check->items[check->count++];
	finding->level = level;
	finding->what = what;
	finding->remedy = remedy;
}

static void print_text(const struct check *check)
{
	const struct finding *f;
	size_t i;

	for (i = 0; i < check->count; i++) {
		f = &check->items[i];
		printf("%-5s %s%s%s\n", level_names[f->level], f->what, f->remedy ? ": " : "",
		       f->remedy ? f->remedy : "");
	}
}

static void print_json(const struct check *check)
{
	json_t *list = json_array();
	const struct finding *f;
	size_t i;

	for (i = 0; i < check->count; i++) {
		f = &check->items[i];
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:s?}", "level", level_names[f->level],
						"what", f->what, "remedy", f->remedy));
	}
	json_dumpf(list, stdout, JSON_INDENT(2));
	fputc('\n', stdout);
	json_decref(list);
}

static int finish(struct check *check, bool json)
{
	int status = EXIT_DONE;
	size_t i;

	if (json)
		print_json(check);
	else
		print_text(check);
	for (i = 0; i < check->count; i++) {
		if (check->items[i].level == CHECK_ERROR)
			status = EXIT_FAILED;
		free(check->items[i].what);
	}
	free(check->items);
	return status;
}

int cmd_check(int argc, char **argv)
{
	const char *path = COMMAND_CONFIG_FILE;
	struct check check = {NULL, 0};
	struct config *config;
	bool json = false;
	PGconn *conn;
	int status = command_options(argc, argv, HELP, &path, &json);

	if (status >= 0)
		return status;
	config = command_config(path);
	if (!config)
		return EXIT_USAGE;
	check_ok(&check, "%s is valid", path);
	conn = check_server(&check, config);
	if (conn)
		check_outbox(&check, config, conn);
	check_kafka(&check, config, conn);
	PQfinish(conn);
	config_free(&config);
	return finish(&check, json);
}
