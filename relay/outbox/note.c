/* SPDX-License-Identifier: ISC */
/*
 * note.c - what has to be settled for a batch, as bytes for the sink's ledger
 *
 * Numbers are base-128, lowest digits first, the high bit set on all but the last byte; ids are
 * the difference to the id before, with the sign in the lowest bit. An identity that is a UUID in
 * its usual text takes 16 bytes of the 36.
 *
 *	version (1), line, number of items
 *	of each: id, kind, then of a letter its number, of a copy its number and attempts, and of
 *	the others but those without an identity that one
 */
#include "note.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, UUID_BYTES = 16, UUID_TEXT = 36 };

/* An item's kind; a letter may have any identity too. */
enum { IDENTITY_NONE, IDENTITY_UUID, IDENTITY_TEXT, IDENTITIES = 3, OF_LETTER = 4, OF_COPY = 8 };

/* What an item borrows. */
struct note_text {
	char uuid[UUID_TEXT + 1];
	struct slice notes[COPY_NOTES];
};

/* ---- writing ---- */

struct writer {
	char *bytes;
	size_t len, room;
};

static void put(struct writer *writer, const void *bytes, size_t len)
{
	while (writer->len + len > writer->room) {
		writer->room = writer->room > 0 ? writer->room * 2 : 1024;
		writer->bytes = xrealloc(writer->bytes, writer->room);
	}
	if (len > 0)
		memcpy(writer->bytes + writer->len, bytes, len);
	writer->len += len;
}

static void put_number(struct writer *writer, uint64_t value)
{
	char digits[10];
	size_t len = 0;
	for (; value > 0x7f; value >>= 7)
		digits[len++] = (char)(value | 0x80);
	digits[len++] = (char)value;
	put(writer, digits, len);
}

static void put_text(struct writer *writer, struct slice text)
{
	put_number(writer, text.len);
	put(writer, text.data, text.len);
}

static uint64_t fold(int64_t value)
{
	return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

static int hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;
	return at != NULL ? (int)(at - digits) : -1;
}

static bool has_dash(size_t at)
{
	return at == 8 || at == 13 || at == 18 || at == 23;
}

/* False: it is none, or has another spelling. */
static bool pack_uuid(struct slice text, unsigned char packed[UUID_BYTES])
{
	size_t digits = 0;
	if (text.len != UUID_TEXT)
		return false;
	for (size_t i = 0; i < UUID_TEXT; i++) {
		if (has_dash(i) && text.data[i] == '-')
			continue;
		int digit = hex(text.data[i]);
		if (has_dash(i) || digit < 0)
			return false;
		packed[digits / 2] = (unsigned char)(packed[digits / 2] << 4 | digit);
		digits++;
	}
	return true;
}

static void put_event(struct writer *writer, const struct event *event, int64_t before)
{
	unsigned char packed[UUID_BYTES] = {0};
	unsigned identity = event->identity.data == NULL	 ? IDENTITY_NONE
			    : pack_uuid(event->identity, packed) ? IDENTITY_UUID
								 : IDENTITY_TEXT;
	unsigned of = event->copy != NULL ? OF_COPY : event->letter != 0 ? OF_LETTER : 0;
	put_number(writer, fold((int64_t)((uint64_t)event->id - (uint64_t)before)));
	put_number(writer, identity | of);
	if (of != 0)
		put_number(writer, (uint64_t)event->letter);
	if (of == OF_COPY)
		put_text(writer, event->copy[COPY_ATTEMPTS]);
	if (identity == IDENTITY_UUID)
		put(writer, packed, UUID_BYTES);
	else if (identity == IDENTITY_TEXT)
		put_text(writer, event->identity);
}

char *note_write(const char *line, const struct batch *batch, size_t *len)
{
	struct writer writer = {0};
	struct batch_walk walk;
	int64_t before = 0;
	put_number(&writer, VERSION);
	put_text(&writer, slice_of(line));
	put_number(&writer, batch->delivered);
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk)) {
		if (e->state != EVENT_DELIVERED)
			continue;
		put_event(&writer, e, before);
		before = e->id;
	}
	*len = writer.len;
	return writer.bytes;
}

/* ---- reading ---- */

struct reader {
	const char *at, *end;
	bool bad; /* it has ended too soon, or a number is too large */
};

static uint64_t get_number(struct reader *reader)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (reader->at == reader->end)
			break;
		unsigned char byte = (unsigned char)*reader->at++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	reader->bad = true;
	return 0;
}

static struct slice get_bytes(struct reader *reader, uint64_t len)
{
	static const char none[UUID_BYTES];
	struct slice bytes = {reader->at, (size_t)len};
	if (len > (uint64_t)(reader->end - reader->at)) {
		reader->bad = true;
		return (struct slice){none, 0};
	}
	reader->at += len;
	return bytes;
}

static struct slice get_text(struct reader *reader)
{
	return get_bytes(reader, get_number(reader));
}

static int64_t unfold(uint64_t value)
{
	return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
}

static void unpack_uuid(struct slice packed, char text[UUID_TEXT + 1])
{
	static const char digits[] = "0123456789abcdef";
	size_t digit = 0;
	for (size_t i = 0; i < UUID_TEXT; i++) {
		if (has_dash(i)) {
			text[i] = '-';
			continue;
		}
		unsigned char byte = (unsigned char)packed.data[digit / 2];
		text[i] = digits[digit % 2 == 0 ? byte >> 4 : byte & 15];
		digit++;
	}
}

static struct slice get_identity(struct reader *reader, unsigned kind, struct note_text *text)
{
	if (kind == IDENTITY_TEXT)
		return get_text(reader);
	if (kind != IDENTITY_UUID)
		return SLICE_NULL;
	struct slice packed = get_bytes(reader, UUID_BYTES);
	if (!reader->bad)
		unpack_uuid(packed, text->uuid);
	return slice_of(text->uuid);
}

static void get_item(struct reader *reader, struct outbox_ids_item *item, struct note_text *text,
		     int64_t before)
{
	item->id = (int64_t)((uint64_t)before + (uint64_t)unfold(get_number(reader)));
	unsigned kind = (unsigned)get_number(reader), identity = kind & IDENTITIES;
	reader->bad |= kind > (OF_COPY | IDENTITY_TEXT) || identity > IDENTITY_TEXT ||
		       (kind & OF_LETTER && kind & OF_COPY);
	if (kind & (OF_LETTER | OF_COPY))
		item->letter = (int64_t)get_number(reader);
	if (kind & OF_COPY) {
		text->notes[COPY_ATTEMPTS] = get_text(reader);
		item->copy = text->notes;
	}
	item->identity = get_identity(reader, identity, text);
}

/* So many bytes has an item at least. */
enum { ITEM_LEAST = 2 };

static bool get_items(struct reader *reader, struct note *note)
{
	uint64_t count = get_number(reader);
	int64_t before = 0;
	if (reader->bad || count > (uint64_t)(reader->end - reader->at) / ITEM_LEAST)
		return false;
	note->items = xcalloc((size_t)count + 1, sizeof(*note->items));
	note->texts = xcalloc((size_t)count + 1, sizeof(*note->texts));
	for (; note->count < count && !reader->bad; note->count++) {
		get_item(reader, &note->items[note->count], &note->texts[note->count], before);
		before = note->items[note->count].id;
	}
	return !reader->bad && reader->at == reader->end;
}

bool note_read(struct note *note, struct slice bytes, struct error *err)
{
	struct reader reader = {.at = bytes.data, .end = bytes.data + bytes.len};
	*note = (struct note){0};
	uint64_t version = get_number(&reader);
	if (!reader.bad && version != VERSION)
		return error_set(err,
				 "the ledger has a note of version %llu, and this relay knows "
				 "version %d: a later release of outbox-relay has written it",
				 (unsigned long long)version, VERSION);
	struct slice line = get_text(&reader);
	note->line = xasprintf("%.*s", (int)line.len, line.data);
	if (get_items(&reader, note))
		return true;
	note_fini(note);
	return error_set(err, "a note in the ledger is damaged");
}

void note_fini(struct note *note)
{
	free(note->line);
	free(note->items);
	free(note->texts);
	*note = (struct note){0};
}
