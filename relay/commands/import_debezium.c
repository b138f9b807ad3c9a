/* SPDX-License-Identifier: ISC */
/*
 * import_debezium.c - the command `import-debezium`: a configuration made from one of Debezium
 */
#include "import.h"

#include "base/secret_text.h"
#include "base/xalloc.h"
#include "commands.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
	struct import_wishes wishes;
};

static int take_arguments(int argc, char **argv, struct arguments *arguments)
{
	const struct command_flag flags[] = {
	    {"dsn", NULL, command_take_utf8, &arguments->wishes.dsn},
	    {"bootstrap", NULL, command_take_utf8, &arguments->wishes.bootstrap},
	    {"table", NULL, command_take_utf8, &arguments->wishes.table},
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

/* why: it begins with what FILE does. */
static void complain(const char *file, const char *why)
{
	char *shown = import_shown(why, sizeof(((struct error *)NULL)->text));

	fprintf(stderr, "outbox-relay import-debezium: %s %s\n", file, shown);
	free(shown);
}

/* NULL if it cannot be read, which is told. */
static char *read_file(const char *path)
{
	struct error err;
	char *text = strcmp(path, "-") == 0 ? secret_slurp_fd(STDIN_FILENO, FILE_MAX, &err)
					    : secret_slurp(path, FILE_MAX, &err);

	if (text == NULL)
		fprintf(stderr, "outbox-relay import-debezium: cannot read %s: %s\n", path,
			err.text);
	return text;
}

/* Whether it is about what the relay's environment will have, which this one need not. */
static bool is_elsewhere(const char *problem)
{
	return strstr(problem, "environment variable") != NULL ||
	       strstr(problem, "cannot read secret file") != NULL;
}

static void print_problems(const char *path, const struct config_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++) {
		const char *problem = problems->items[i].text;

		if (strncmp(problem, path, strlen(path)) == 0)
			problem += strlen(path) + 1;
		if (!is_elsewhere(problem))
			fprintf(stderr, "the configuration is not yet right: %s%s\n",
				isdigit((unsigned char)*problem) ? "line " : "", problem);
	}
}

/* What each option becomes is right by itself; what they come to together is read as the relay
 * will. */
static void check_made(const char *made)
{
	int fd = memfd_create("outbox-relay.conf", MFD_CLOEXEC);
	struct config_problems problems = {NULL, 0};
	struct config *config;
	char path[40];

	if (fd < 0 || write(fd, made, strlen(made)) != (ssize_t)strlen(made)) {
		close(fd);
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config = command_load(path, &problems);
	print_problems(path, &problems);
	config_free(&config);
	config_problems_free(&problems);
	close(fd);
}

static int import_from(const char *text, const struct arguments *arguments)
{
	struct import_notes notes = {NULL, 0};
	struct error err;
	char *made = import_make(text, &arguments->wishes, &notes, &err);
	int status = made != NULL ? EXIT_DONE : EXIT_USAGE;

	if (made != NULL) {
		fputs(made, stdout);
		for (size_t i = 0; i < notes.count; i++)
			fprintf(stderr, "%s\n", notes.lines[i]);
		check_made(made);
	} else {
		complain(arguments->file, err.text);
	}
	import_notes_free(&notes);
	free(made);
	return status;
}

/* Whether what is given beside the file can be right. */
static bool check_wishes(const struct import_wishes *wishes)
{
	struct pgname name;
	struct error err;

	if ((wishes->dsn == NULL || pg_dsn_check("--dsn", wishes->dsn, &err)) &&
	    (wishes->table == NULL ||
	     (pgname_parse(wishes->table, &name, &err) && pgname_check(&name, &err))))
		return true;
	fprintf(stderr, "outbox-relay import-debezium: %s\n", err.text);
	return false;
}

int cmd_import_debezium(int argc, char **argv)
{
	struct arguments arguments = {.path = COMMAND_CONFIG_FILE};
	int status = take_arguments(argc, argv, &arguments);
	char *text;

	if (status >= 0)
		return status;
	if (!check_wishes(&arguments.wishes))
		return EXIT_USAGE;
	text = read_file(arguments.file);
	if (text == NULL)
		return EXIT_FAILED;
	status = import_from(text, &arguments);
	secret_wipe(&text);
	return status;
}
