/*
 * check.c - the command `check`: runs every part of it and tells the findings
 */
#include "check.h"
#include "base/text.h"
#include "commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char HELP[] =
    "Usage: outbox-relay check [-c FILE] [--json]\n"
    "\n"
    "Validates the configuration, then connects to database and brokers and looks for what would\n"
    "keep the relay from working, or from keeping its promises. Changes nothing.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --json          a list of {level, what, remedy}\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 no error (warnings may be there), 1 an error was found, 2 the file is wrong.\n";

static const char *const level_names[] = {"ok", "warn", "error"};

void check_add(struct check *check, enum check_level level, const char *remedy, const char *format,
	       ...)
{
	va_list args;
	char *what;

	va_start(args, format);
	if (vasprintf(&what, format, args) < 0)
		abort();
	va_end(args);
	check->failed = check->failed || level == CHECK_ERROR;
	if (check->list)
		json_array_append_new(
		    check->list, json_pack("{s:s, s:o, s:o}", "level", level_names[level], "what",
					   json_text(what), "remedy", json_text(remedy)));
	else
		printf("%-5s %s%s%s\n", level_names[level], what, remedy ? ": " : "",
		       remedy ? remedy : "");
	/* Brokers that do not answer take their time: what is known is told before. */
	fflush(stdout);
	free(what);
}

static void print_json(const json_t *list)
{
	json_dumpf(list, stdout, JSON_INDENT(2));
	fputc('\n', stdout);
}

int cmd_check(int argc, char **argv)
{
	const char *path = COMMAND_CONFIG_FILE;
	struct check check = {.list = NULL};
	struct config *config;
	bool json = false;
	PGconn *conn;
	int status = command_options(argc, argv, HELP, &path, &json);

	if (status >= 0)
		return status;
	config = command_config(path);
	if (!config)
		return EXIT_USAGE;
	if (json)
		check.list = json_array();
	check_ok(&check, "%s is valid", path);
	conn = check_server(&check, config);
	if (conn)
		check_outbox(&check, config, conn);
	check_kafka(&check, config, conn);
	PQfinish(conn);
	config_free(&config);
	if (json)
		print_json(check.list);
	json_decref(check.list);
	return check.failed ? EXIT_FAILED : EXIT_DONE;
}
