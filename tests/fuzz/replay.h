/* SPDX-License-Identifier: ISC */
/*
 * replay.h - runs a fuzzer's stored inputs in a unit test, without the fuzzer
 */
#ifndef OUTBOX_REPLAY_H
#define OUTBOX_REPLAY_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Feeds every file of tests/fuzz/corpus/NAME to the fuzzer's function; how many there were. */
static int replay_corpus(const char *name)
{
	static uint8_t bytes[64 * 1024];
	char path[1024];
	struct dirent *entry;
	DIR *directory;
	int count = 0;

	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", SOURCE_DIR, name);
	directory = opendir(path);
	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		FILE *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s/%s", SOURCE_DIR, name,
			 entry->d_name);
		file = fopen(path, "rb");
		if (file == NULL)
			continue;
		LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof(bytes), file));
		fclose(file);
		count++;
	}
	if (directory != NULL)
		closedir(directory);
	return count;
}

#endif
