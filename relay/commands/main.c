/* SPDX-License-Identifier: ISC */
/*
 * main.c - outbox-relay COMMAND: finds the command and runs it
 */
#include "commands.h"
#include "kafka.h"
#include "outbox/outbox.h"
#include "postgres.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
};

static const struct command commands[] = {
    {"run", cmd_run, "the relay, in the foreground"},
    {"check", cmd_check, "checks configuration, database and brokers"},
    {"migrate", cmd_migrate, "creates what the relay needs in the database"},
    {"status", cmd_status, "what waits, which relays publish, how fast"},
    {"health", cmd_health, "asks a running relay whether it makes progress"},
    {"pause", cmd_pause, "all relays of the outbox stop claiming"},
    {"resume", cmd_resume, "and go on"},
    {"dlq", cmd_dlq, "rejected events: list, show, retry, discard, edit"},
    {"handover", cmd_handover, "before and after a switch of databases"},
    {"reconcile", cmd_reconcile, "settles the waiting rows whose events the topics hold"},
    {"replay", cmd_replay, "publishes rows once more that are published already"},
    {"verify", cmd_verify, "compares the topics with what the outbox says was published"},
    {"import-debezium", cmd_import_debezium, "a configuration made from one of Debezium"},
    {"shadow", cmd_shadow, "publishes to other topics, beside a live connector"},
    {"compare", cmd_compare, "compares two sets of topics, event by event"},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *out)
{
	fputs("usage: outbox-relay COMMAND [-c FILE] [options]\n\n"
	      "Publishes the rows of a Postgres outbox table to Kafka.\n\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-15s %s\n", commands[i].name, commands[i].help);
	fputs("\noutbox-relay COMMAND --help explains each; outbox-relay --version.\n", out);
}

static int print_version(void)
{
	printf("outbox-relay %s (librdkafka %s, libpq %s)\n", OUTBOX_RELAY_VERSION, kafka_version(),
	       outbox_libpq_version());
	return EXIT_DONE;
}

/* A reload or a stop may be asked for as soon as the process exists, and the default action would
 * end it. `run` begins with its signals blocked, and so they stay pending until it can catch them
 * (commands/run.c). Other commands keep the default actions. The loader calls this before the
 * constructors of the libraries, which take their time. A sanitizer is not set up yet by then. */
__attribute__((no_sanitize("address", "undefined"))) static void hold_signals(int argc, char **argv,
									      char **environment)
{
	static const unsigned char all[_NSIG / 8] = {[0 ... _NSIG / 8 - 1] = 0xff};
	const char *command = argc > 1 ? argv[1] : "";

	(void)environment;
	if (command[0] == 'r' && command[1] == 'u' && command[2] == 'n' && command[3] == '\0')
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, NULL, sizeof(all));
}

__attribute__((section(".preinit_array"), used)) static void (*const hold)(int, char **,
									   char **) = hold_signals;

/* The memory holds passwords and payloads. A core that is piped to a program does not heed the
 * limit (core(5)), so the process is marked as well (prctl(2)). */
static void forbid_core_dumps(void)
{
	static const struct rlimit none = {0, 0};

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
}

int main(int argc, char **argv)
{
	hold_signals(argc, argv, environ); /* again: musl runs no preinit functions */
	forbid_core_dumps();
#ifdef M_ARENA_MAX
	/* librdkafka's threads would otherwise get an arena each, of which little is ever given
	 * back. musl has no arenas. */
	mallopt(M_ARENA_MAX, 2);
#endif
	pgsession_clean_environment();
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return command_finish(argv[1], EXIT_DONE);
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return command_finish(argv[1], print_version());
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return command_finish(argv[1], commands[i].run(argc - 1, argv + 1));
	fprintf(stderr, "outbox-relay: there is no command \"%s\"\n", argv[1]);
	print_help(stderr);
	return EXIT_USAGE;
}
