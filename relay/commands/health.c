/* SPDX-License-Identifier: ISC */
/*
 * health.c - the command `health`: asks the relay with this configuration how it is
 *
 * For a container's health check, whose image has no shell and no other client of HTTP.
 */
#include "commands.h"
#include "http.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 5000, HTTP_OK = 200 };

static const char HELP[] =
    "Usage: outbox-relay health [-c FILE] [--ready]\n"
    "\n"
    "Asks the running relay with this configuration, at its http.listen, whether it makes "
    "progress\n"
    "(/healthz), and prints its answer. It connects to no database and no broker.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --ready         ask whether it is connected, or a standby (/readyz)\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 it is well, 1 it is not, or it does not answer within 5 s, 2 wrong usage, or "
    "the\n"
    "file is wrong.\n";

static int ask(const char *listen, const char *page)
{
	struct error err;
	char *body = NULL;
	size_t len = 0;
	int code = http_get(listen, page, TIMEOUT_MS, &body, &len, &err);

	if (code < 0)
		return command_failed("health", &err);
	fwrite(body, 1, len, stdout);
	free(body);
	return code == HTTP_OK ? EXIT_DONE : EXIT_FAILED;
}

int cmd_health(int argc, char **argv)
{
	const char *file = COMMAND_CONFIG_FILE;
	bool ready = false;
	const struct command_flag flags[] = {{"ready", &ready, NULL, NULL}, {0}};
	int status = command_options(argc, argv, HELP, &file, flags);
	struct config *config;

	if (status >= 0)
		return status;
	config = command_config(file);
	if (config == NULL)
		return EXIT_USAGE;
	status = ask(config->http.listen, ready ? "/readyz" : "/healthz");
	config_free(&config);
	return status;
}
