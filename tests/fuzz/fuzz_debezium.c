/* SPDX-License-Identifier: ISC */
/*
 * fuzz_debezium.c - any bytes as a configuration of Debezium: refused with words, or made into a
 * file that libconfig reads, and lines without anything that a terminal would heed
 *
 * Run with ASAN_OPTIONS=detect_leaks=0: libconfig's parser itself loses a string on some syntax
 * errors.
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "commands/import.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_debezium: %s: %s\n", what, text);
	abort();
}

/* It may be incomplete, and name what there is not; but not be cut or run together. */
static void must_parse(const char *made)
{
	struct config_problems problems = {NULL, 0};
	struct config *config;
	int fd = memfd_create("fuzz", 0);
	char path[40];

	must(fd >= 0 && write(fd, made, strlen(made)) == (ssize_t)strlen(made), "no file", "");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config = config_load(path, NULL, &problems);
	for (size_t i = 0; i < problems.count; i++)
		must(strstr(problems.items[i].text, "syntax error") == NULL, "is refused", made);
	config_free(&config);
	config_problems_free(&problems);
	close(fd);
}

static void must_be_clean(const char *line)
{
	size_t len;

	for (const char *at = line; *at != '\0'; at += len) {
		len = text_character(at, strnlen(at, 4));
		must(len > 0 && !text_is_control(at, len), "a line that is not clean", line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct import_wishes none = {NULL, NULL, NULL};
	struct import_notes notes = {NULL, 0};
	char *text = xcalloc(size + 1, 1), *made;
	struct error err = {""};

	if (size > 0)
		memcpy(text, data, size);
	made = import_make(text, &none, &notes, &err);
	must(made != NULL || err.text[0] != '\0', "no words for a refusal", "");
	if (made != NULL)
		must_parse(made);
	for (size_t i = 0; i < notes.count; i++)
		must_be_clean(notes.lines[i]);
	import_notes_free(&notes);
	free(made);
	free(text);
	return 0;
}
