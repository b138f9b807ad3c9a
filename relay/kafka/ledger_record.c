/* SPDX-License-Identifier: ISC */
/*
 * ledger_record.c - the bytes of the ledger's records, and notes put together of them
 */
#include "ledger_record.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* What follows the group, without the chunk. */
enum { TAIL = 8 + 4 + 4 + 4 + 4 };

/* ---- checksum ---- */

uint32_t ledger_checksum(struct slice bytes)
{
	/* Of half a byte each: the polynomial is 0x82f63b78, reflected. */
	static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
					   0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
					   0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
					   0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < bytes.len; i++) {
		crc ^= (unsigned char)bytes.data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

/* ---- records ---- */

struct ledger_record ledger_begin(const char *group)
{
	struct ledger_record record = {
	    .kind = LEDGER_BEGIN, .chunks = 1, .bytes = {"", 0}, .checksum = 0};

	text_print(record.group, sizeof(record.group), "%s", group);
	return record;
}

struct ledger_record ledger_line(const char *group, const char *line)
{
	struct slice bytes = slice_of(line);
	struct ledger_record record = {.kind = LEDGER_LINE,
				       .chunks = 1,
				       .note_len = (uint32_t)bytes.len,
				       .checksum = ledger_checksum(bytes),
				       .bytes = bytes};

	text_print(record.group, sizeof(record.group), "%s", group);
	return record;
}

uint32_t ledger_chunks(size_t note_len, size_t chunk_len)
{
	assert(chunk_len > 0 && note_len <= UINT32_MAX);
	return note_len == 0 ? 1 : (uint32_t)((note_len - 1) / chunk_len + 1);
}

struct ledger_record ledger_end(const char *group, const struct ledger_batch *batch,
				uint32_t checksum, size_t chunk_len, uint32_t chunk)
{
	size_t begin = chunk * chunk_len, left = batch->note.len - begin;
	struct ledger_record record = {
	    .kind = LEDGER_END,
	    .number = batch->number,
	    .chunk = chunk,
	    .chunks = ledger_chunks(batch->note.len, chunk_len),
	    .note_len = (uint32_t)batch->note.len,
	    .checksum = checksum,
	    .bytes = {batch->note.data + begin, left < chunk_len ? left : chunk_len},
	};

	text_print(record.group, sizeof(record.group), "%s", group);
	return record;
}

size_t ledger_key(const struct ledger_record *record, char key[LEDGER_KEY])
{
	if (record->kind != LEDGER_END)
		return (size_t)snprintf(key, LEDGER_KEY, "%s",
					record->kind == LEDGER_BEGIN ? "begin" : "line");
	return (size_t)snprintf(key, LEDGER_KEY, "end/%d/%u", (int)(record->number % LEDGER_SLOTS),
				(unsigned)record->chunk);
}

static char *put(char *at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (char)(unsigned char)(value >> 8 * (size - 1 - i));
	return at + size;
}

size_t ledger_value(const struct ledger_record *record, char *value)
{
	size_t group_len = strlen(record->group);
	char *at = put(value, LEDGER_VERSION, 1);

	at = put(at, record->kind, 1);
	at = put(at, group_len, 1);
	memcpy(at, record->group, group_len);
	at = put(at + group_len, (uint64_t)record->number, 8);
	at = put(at, record->chunk, 4);
	at = put(at, record->chunks, 4);
	at = put(at, record->note_len, 4);
	at = put(at, record->checksum, 4);
	if (record->bytes.len > 0)
		memcpy(at, record->bytes.data, record->bytes.len);
	return (size_t)(at - value) + record->bytes.len;
}

static uint64_t get(const char **at, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value = value << 8 | (unsigned char)(*at)[i];
	*at += size;
	return value;
}

/* The rest of the value, behind the group. */
static void parse_tail(const char *at, const char *end, struct ledger_record *record)
{
	record->number = (int64_t)get(&at, 8);
	record->chunk = (uint32_t)get(&at, 4);
	record->chunks = (uint32_t)get(&at, 4);
	record->note_len = (uint32_t)get(&at, 4);
	record->checksum = (uint32_t)get(&at, 4);
	record->bytes = (struct slice){at, (size_t)(end - at)};
}

/* Whether its numbers go with each other and with its key. */
static bool is_sound(const struct ledger_record *record, struct slice key)
{
	char wanted[LEDGER_KEY];
	size_t len;

	if (record->kind < LEDGER_BEGIN || record->kind > LEDGER_LINE)
		return false;
	if (record->number < 0 || record->chunk >= record->chunks ||
	    record->bytes.len > record->note_len)
		return false;
	len = ledger_key(record, wanted);
	return slice_equal(key, (struct slice){wanted, len});
}

static bool damaged(struct error *err)
{
	return error_set(err, "a record is damaged, or not of outbox-relay's: nothing else may "
			      "write to the ledger topic");
}

bool ledger_parse(struct slice key, struct slice value, const char *group,
		  struct ledger_record *record, struct error *err)
{
	size_t group_len;

	if (value.data == NULL || value.len < 1)
		return damaged(err);
	if (value.data[0] != LEDGER_VERSION)
		return error_set(err,
				 "a record is of version %u, and this relay knows version %d: run "
				 "the newer outbox-relay that has written it",
				 (unsigned)(unsigned char)value.data[0], LEDGER_VERSION);
	group_len = value.len >= 3 ? (unsigned char)value.data[2] : 0;
	if (value.len < 3 + group_len + TAIL || group_len >= sizeof(record->group))
		return damaged(err);
	*record = (struct ledger_record){.kind = (enum ledger_kind)value.data[1]};
	memcpy(record->group, value.data + 3, group_len);
	if (strlen(record->group) != group_len)
		return damaged(err);
	if (strcmp(record->group, group) != 0)
		return error_set(err, "a record is of another outbox: each outbox needs a ledger "
				      "topic of its own");
	parse_tail(value.data + 3 + group_len, value.data + value.len, record);
	return is_sound(record, key) || damaged(err);
}

/* ---- notes ---- */

struct note {
	struct ledger_record head; /* of its first chunk; without the bytes */
	char *bytes;		   /* owned */
	size_t len;
	uint32_t next; /* the chunk that is to follow */
	bool torn;     /* another one did */
};

struct ledger_notes {
	char group[LEDGER_GROUP];
	int64_t settled, newest;
	bool has_settled;	/* a batch that is settled was among them */
	char line[SERVER_LINE]; /* the last one; "": none */
	struct note *items;	/* owned */
	size_t count;
	struct ledger_batch *batches; /* owned; made in the end */
};

struct ledger_notes *ledger_notes_new(const char *group, int64_t settled)
{
	struct ledger_notes *notes = xcalloc(1, sizeof(*notes));

	text_print(notes->group, sizeof(notes->group), "%s", group);
	notes->settled = settled;
	return notes;
}

void ledger_notes_free(struct ledger_notes **notes)
{
	struct ledger_notes *n = *notes;

	*notes = NULL;
	if (n == NULL)
		return;
	for (size_t i = 0; i < n->count; i++)
		free(n->items[i].bytes);
	free(n->items);
	free(n->batches);
	free(n);
}

/* Chunks of one note follow each other. */
static struct note *note_of(struct ledger_notes *notes, int64_t number)
{
	for (size_t i = notes->count; i-- > 0;)
		if (notes->items[i].head.number == number)
			return &notes->items[i];
	notes->items = xrealloc(notes->items, (notes->count + 1) * sizeof(*notes->items));
	notes->items[notes->count] = (struct note){.head = {.number = number}, .torn = true};
	return &notes->items[notes->count++];
}

static bool goes_on(const struct note *note, const struct ledger_record *record)
{
	const struct ledger_record *head = &note->head;

	return record->chunk == note->next && record->chunks == head->chunks &&
	       record->note_len == head->note_len && record->checksum == head->checksum &&
	       record->bytes.len <= head->note_len - note->len;
}

static void append(struct note *note, const struct ledger_record *record)
{
	if (record->chunk == 0) {
		note->head = *record;
		note->head.bytes = SLICE_NULL;
		note->len = note->next = 0;
		note->torn = false;
	}
	note->torn = note->torn || !goes_on(note, record);
	if (note->torn)
		return;
	note->bytes = xrealloc(note->bytes, note->len + record->bytes.len + 1);
	if (record->bytes.len > 0)
		memcpy(note->bytes + note->len, record->bytes.data, record->bytes.len);
	note->len += record->bytes.len;
	note->next++;
}

static bool keep_line(struct ledger_notes *notes, const struct ledger_record *record,
		      struct error *err)
{
	const struct slice *line = &record->bytes;

	if (line->len == 0 || line->len >= sizeof(notes->line) || line->len != record->note_len ||
	    ledger_checksum(*line) != record->checksum ||
	    memchr(line->data, '\0', line->len) != NULL)
		return damaged(err);
	text_print(notes->line, sizeof(notes->line), "%.*s", (int)line->len, line->data);
	return true;
}

bool ledger_notes_add(struct ledger_notes *notes, struct slice key, struct slice value,
		      struct error *err)
{
	struct ledger_record record = {.number = 0};

	if (key.data == NULL && value.len == 0)
		return true; /* what `check` sends, and a broker has taken (rehearsal.c) */
	if (!ledger_parse(key, value, notes->group, &record, err))
		return false;
	if (record.kind == LEDGER_BEGIN)
		return true;
	if (record.kind == LEDGER_LINE)
		return keep_line(notes, &record, err);
	if (record.number > notes->newest)
		notes->newest = record.number;
	if (record.number <= notes->settled)
		notes->has_settled = true;
	else
		append(note_of(notes, record.number), &record);
	return true;
}

static bool is_whole(const struct note *note)
{
	return !note->torn && note->next == note->head.chunks && note->len == note->head.note_len &&
	       ledger_checksum((struct slice){note->bytes, note->len}) == note->head.checksum;
}

bool ledger_notes_are_cut(const struct ledger_notes *notes)
{
	const struct note *first = NULL;

	if (notes->has_settled)
		return false;
	for (size_t i = 0; i < notes->count; i++)
		if (first == NULL || notes->items[i].head.number < first->head.number)
			first = &notes->items[i];
	return first == NULL || first->head.number > notes->settled + 1 || !is_whole(first);
}

static int compare_numbers(const void *a, const void *b)
{
	const struct ledger_batch *left = a, *right = b;

	return (left->number > right->number) - (left->number < right->number);
}

bool ledger_notes_end(struct ledger_notes *notes, struct ledger *ledger, struct error *err)
{
	size_t count = 0;

	notes->batches = xcalloc(notes->count + 1, sizeof(*notes->batches));
	for (size_t i = 0; i < notes->count; i++) {
		const struct note *note = &notes->items[i];

		if (is_whole(note))
			notes->batches[count++] =
			    (struct ledger_batch){note->head.number, {note->bytes, note->len}};
		else if (notes->newest - note->head.number < LEDGER_SLOTS)
			return error_set(err,
					 "the note of batch %lld is incomplete or damaged: records "
					 "were lost or deleted that were committed",
					 (long long)note->head.number);
	}
	qsort(notes->batches, count, sizeof(*notes->batches), compare_numbers);
	*ledger = (struct ledger){.batches = notes->batches,
				  .count = count,
				  .last = notes->newest,
				  .line = notes->line[0] != '\0' ? notes->line : NULL};
	return true;
}

int64_t ledger_window(int64_t low, int64_t high, int64_t offsets)
{
	return high - low > offsets ? high - offsets : low;
}
