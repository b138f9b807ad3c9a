/* SPDX-License-Identifier: ISC */
/*
 * fuzz_ledger.c - what a ledger topic may hold, from any bytes: records, and notes put together
 *
 * The input is a row of records: length of the key (1 byte), key, length of the value (2 bytes, the
 * higher first), value.
 */
#include "base/xalloc.h"
#include "kafka/ledger_record.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GROUP "3f0e"
enum { SETTLED = 5 };

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_ledger: %s\n", what);
	abort();
}

/* A copy of its own size, so that reading beyond it shows. */
static struct slice take(const uint8_t **at, const uint8_t *end, size_t len)
{
	size_t left = (size_t)(end - *at), taken = len < left ? len : left;
	char *copy = xmalloc(taken > 0 ? taken : 1);

	memcpy(copy, *at, taken);
	*at += taken;
	return (struct slice){copy, taken};
}

static size_t length(const uint8_t **at, const uint8_t *end, size_t bytes)
{
	size_t len = 0;

	for (; bytes > 0 && *at < end; bytes--)
		len = len << 8 | *(*at)++;
	return len;
}

/* What is taken is written again as it was. */
static void check_record(struct slice key, struct slice value)
{
	struct ledger_record record;
	struct error err = {""};
	char key_again[LEDGER_KEY], *value_again;

	if (!ledger_parse(key, value, GROUP, &record, &err)) {
		must(err.text[0] != '\0', "a refusal has no words");
		return;
	}
	value_again = xmalloc(LEDGER_HEAD + record.bytes.len);
	must(ledger_key(&record, key_again) == key.len, "the key is another");
	must(ledger_value(&record, value_again) == value.len, "the value has another length");
	must(memcmp(value_again, value.data, value.len) == 0, "the value is another");
	free(value_again);
}

static void check_notes(struct ledger_notes *notes)
{
	struct ledger ledger;
	struct error err;
	int64_t last = SETTLED;

	if (!ledger_notes_end(notes, &ledger, &err))
		return;
	for (size_t i = 0; i < ledger.count; i++) {
		must(ledger.batches[i].number > last, "a batch is settled, or not in order");
		last = ledger.batches[i].number;
		ledger_checksum(ledger.batches[i].note);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *at = data, *end = data + size;
	struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);
	bool good = true;

	while (at < end && good) {
		struct slice key = take(&at, end, length(&at, end, 1));
		struct slice value = take(&at, end, length(&at, end, 2));
		struct error err;

		check_record(key, value);
		good = ledger_notes_add(notes, key, value, &err);
		ledger_notes_are_cut(notes);
		free((char *)(uintptr_t)key.data);
		free((char *)(uintptr_t)value.data);
	}
	if (good)
		check_notes(notes);
	ledger_notes_free(&notes);
	return 0;
}
