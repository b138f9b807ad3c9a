/* SPDX-License-Identifier: ISC */
/*
 * config_files.h - for the tests of the configuration: a directory to write files in
 */
#ifndef OUTBOX_TEST_CONFIG_FILES_H
#define OUTBOX_TEST_CONFIG_FILES_H

#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DATABASE     "database = { dsn = \"dbname=shop\"; };"
#define KAFKA	     "kafka = { bootstrap_servers = \"b:9092\"; };"
#define REQUIRED     DATABASE KAFKA

static char directory[] = "/tmp/test_config.XXXXXX";
static char previous[4096];

static inline void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
}

/* Each test runs in a directory of its own, so that messages hold "t.conf" and nothing that varies.
 */
static inline int enter(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/test_config.XXXXXX");
	if (getcwd(previous, sizeof(previous)) == NULL || mkdtemp(directory) == NULL)
		return -1;
	unsetenv("TEST_CONFIG_UNSET");
	setenv("TEST_CONFIG", "from-env", 1);
	return chdir(directory);
}

static inline int leave(void **state)
{
	static const char *const files[] = {"t.conf",	 "two.conf", "secret", "inc.conf",
					    "inc2.conf", "nul",	     "big",    "self.conf"};

	(void)state;
	for (size_t i = 0; i < COUNT(files); i++)
		unlink(files[i]);
	rmdir("dir");
	return chdir(previous) != 0 || rmdir(directory) != 0;
}

static inline struct config *load(const char *name, const char *text)
{
	struct config_problems problems = {NULL, 0};
	struct config *config;

	write_file(name, text);
	config = config_load(name, NULL, &problems);
	if (config == NULL)
		fail_msg("%s", problems.items[0].text);
	config_problems_free(&problems);
	return config;
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, enter, leave)

/* All problems of a text, one per line; NULL if there are none. The caller frees it. */
static inline char *complaints(const char *text, config_judge_fn judge)
{
	struct config_problems problems = {NULL, 0};
	struct config *config;
	char *all = NULL;
	size_t len = 0;
	FILE *out;

	write_file("t.conf", text);
	config = config_load("t.conf", judge, &problems);
	assert_true((config == NULL) == (problems.count > 0));
	if (config == NULL) {
		out = open_memstream(&all, &len);
		for (size_t i = 0; i < problems.count; i++)
			fprintf(out, "%s%s", i > 0 ? "\n" : "", problems.items[i].text);
		fclose(out);
	}
	config_free(&config);
	config_problems_free(&problems);
	assert_null(problems.items);
	return all;
}

struct bad {
	const char *text;
	const char *says;
};

static inline void check_all(const struct bad *bad, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *said = complaints(bad[i].text, NULL);

		if (said == NULL)
			fail_msg("no complaint about: %s", bad[i].text);
		assert_string_equal(said, bad[i].says);
		free(said);
	}
}

#endif
