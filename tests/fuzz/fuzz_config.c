/* SPDX-License-Identifier: ISC */
/*
 * fuzz_config.c - any bytes as a configuration: loaded, or refused with at least one complaint
 *
 * Run with ASAN_OPTIONS=detect_leaks=0: libconfig's parser itself loses a string on some syntax
 * errors.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Whoever judges a value may look at the others, whatever is wrong with them. */
static bool look(const struct config *config, const char *option, const char *text,
		 struct error *err)
{
	(void)option;
	must(text != NULL);
	must(config->outbox.columns.id != NULL && config->outbox.columns.headers != NULL);
	return strchr(text, '!') == NULL || error_set(err, "no");
}

static void ignore_change(const char *path, bool applied, void *arg)
{
	(void)path;
	(void)applied;
	(void)arg;
	abort(); /* the same file twice */
}

static void check_loaded(struct config *config, const char *path)
{
	struct config_problems problems = {NULL, 0};
	struct config *again = config_load(path, look, &problems);

	must(config->outbox.claim_rows <= config->outbox.batch_rows);
	must(again != NULL);
	config_reload(config, again, ignore_change, NULL);
	config_free(&again);
	config_problems_free(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_problems problems = {NULL, 0};
	struct config *config;
	char path[40];
	int fd = memfd_create("fuzz", 0);

	must(fd >= 0);
	must(write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config = config_load(path, look, &problems);
	must((config == NULL) == (problems.count > 0));
	if (config != NULL)
		check_loaded(config, path);
	config_free(&config);
	config_problems_free(&problems);
	close(fd);
	return 0;
}
