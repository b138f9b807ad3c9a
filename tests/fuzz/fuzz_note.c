/* SPDX-License-Identifier: ISC */
/*
 * fuzz_note.c - note_read on any bytes: nothing beyond them, and what was read is written the same
 */
#include "outbox/note.h"

#include "base/xalloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_note: %s\n", what);
	abort();
}

static void free_chunk(struct chunk *chunk)
{
	free(chunk->events);
	free(chunk);
}

/* A batch of what the note has. */
static void deliver(struct batch *batch, const struct note *note)
{
	struct chunk *chunk = xcalloc(1, sizeof(*chunk));
	chunk->events = xcalloc(note->count + 1, sizeof(struct event));
	chunk->count = note->count;
	chunk->free = free_chunk;
	for (size_t i = 0; i < note->count; i++)
		chunk->events[i] = (struct event){.id = note->items[i].id,
						  .identity = note->items[i].identity,
						  .letter = note->items[i].letter,
						  .copy = note->items[i].copy};
	batch_add(batch, chunk);
	for (size_t i = 0; i < note->count; i++) {
		batch_sent(batch, &chunk->events[i]);
		batch_delivered(batch, &chunk->events[i]);
	}
}

static void must_be_same(const struct note *a, const struct note *b)
{
	must(a->count == b->count, "another number of items");
	for (size_t i = 0; i < a->count; i++) {
		const struct outbox_ids_item *x = &a->items[i], *y = &b->items[i];
		must(x->id == y->id && slice_equal(x->identity, y->identity), "another row");
		must((x->copy == NULL) == (y->copy == NULL), "another kind");
		must(x->letter == y->letter, "another letter");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct note note, again;
	struct batch batch = {0};
	struct error err;
	size_t len;

	if (!note_read(&note, (struct slice){(const char *)data, size}, &err))
		return 0;
	deliver(&batch, &note);
	char *bytes = note_write(note.line, &batch, &len);
	must(note_read(&again, (struct slice){bytes, len}, &err), err.text);
	must_be_same(&note, &again);
	note_fini(&again);
	free(bytes);
	batch_clear(&batch);
	note_fini(&note);
	return 0;
}
