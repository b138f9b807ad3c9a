/* SPDX-License-Identifier: ISC */
/*
 * audit.c - judges what topics hold by what an outbox says was published
 */
#include "core/audit.h"

#include "base/xalloc.h"
#include "hashed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An event, known or arrived. */
struct item {
	uint64_t name[2];
	int64_t id;
	uint32_t seen; /* its first place, counted from 1; 0: it has not arrived */
	uint8_t known; /* enum audit_known */
	bool told;     /* it is known beside what arrived */
	bool replayed; /* it has arrived as a replay */
};

/* A key in a topic, where it was first; and once more for each further partition. */
struct key {
	uint64_t hash[1];
	int64_t last_id; /* the highest that arrived there; AUDIT_NO_ID */
	uint32_t place;	 /* counted from 1 */
};

struct audit {
	struct hashed items, keys;
	struct audit_counts *counts; /* owned; by place */
	size_t places;
	bool ordered;
	uint64_t due;
};

/* ---- names ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* 8-4-4-4-12 digits, as Postgres prints it, in either case. */
static bool parse_uuid(struct slice text, struct audit_name *name)
{
	uint64_t words[2] = {0, 0};
	size_t digits = 0;

	if (text.len != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		int value = digit(text.data[i]);

		if (dash ? text.data[i] != '-' : value < 0)
			return false;
		if (!dash) {
			words[digits / 16] = words[digits / 16] << 4 | (uint64_t)value;
			digits++;
		}
	}
	*name = (struct audit_name){words[0], words[1]};
	return true;
}

struct audit_name audit_name(struct slice event_id)
{
	struct audit_name name;

	if (!parse_uuid(event_id, &name))
		name = (struct audit_name){hashed_slice(event_id, UINT64_C(0x9e3779b97f4a7c15)),
					   hashed_slice(event_id, UINT64_C(0xc2b2ae3d27d4eb4f))};
	if (name.high == 0 && name.low == 0) /* the nil UUID: as any other that nobody draws */
		name.high = UINT64_C(0x6e696c2075756964);
	return name;
}

/* ---- the audit ---- */

struct audit *audit_new(size_t places, bool ordered)
{
	struct audit *audit = xcalloc(1, sizeof(*audit));

	hashed_init(&audit->items, sizeof(struct item), 2);
	hashed_init(&audit->keys, sizeof(struct key), 1);
	audit->counts = xcalloc(places, sizeof(*audit->counts));
	audit->places = places;
	audit->ordered = ordered;
	return audit;
}

void audit_free(struct audit **audit)
{
	struct audit *a = *audit;

	if (a == NULL)
		return;
	hashed_fini(&a->items);
	hashed_fini(&a->keys);
	free(a->counts);
	free(a);
	*audit = NULL;
}

void audit_know(struct audit *audit, struct audit_name name, int64_t id, enum audit_known known)
{
	struct item *item = hashed_add(&audit->items, (const uint64_t[]){name.high, name.low});

	if (id != AUDIT_NO_ID || (!item->told && item->seen == 0))
		item->id = id;
	audit->due += (uint64_t)(known == AUDIT_DUE && item->known == AUDIT_KNOWN);
	audit->due -= (uint64_t)(known == AUDIT_EXCUSED && item->known == AUDIT_DUE);
	item->told = true;
	if (known > (enum audit_known)item->known)
		item->known = (uint8_t)known;
}

/* 0 stands for none. */
static struct key *add_key(struct audit *audit, uint64_t key)
{
	if (key == 0)
		key = 1;
	return hashed_add(&audit->keys, &key);
}

/* A key in a partition. Of keys in different topics nothing is to be compared. Partitions are read
 * one beside the other, so there is no order between two of them. */
static struct key *key_of(struct audit *audit, const struct audit_record *record, unsigned *found,
			  struct audit_before *before)
{
	uint64_t hashed = hashed_slice(record->key, record->topic + 1);
	struct key *key = add_key(audit, hashed);
	bool is_new = key->place == 0;

	if (!is_new && key->place != record->place + 1) {
		before->key = key->place - 1;
		key = add_key(audit, hashed_mix(hashed + record->place + 1));
		is_new = key->place == 0;
		*found |= is_new ? AUDIT_MISPLACED : 0;
	}
	if (is_new)
		*key = (struct key){{key->hash[0]}, AUDIT_NO_ID, (uint32_t)record->place + 1};
	return key;
}

/* Whether an event that arrives for the first time comes after a later one. */
static bool is_late(struct key *key, int64_t id)
{
	if (id != AUDIT_NO_ID && id >= key->last_id)
		key->last_id = id;
	return id != AUDIT_NO_ID && id < key->last_id;
}

/* Of a record that has a name and is no replay. */
static unsigned judge_arrival(struct audit *audit, const struct audit_record *record,
			      struct item *item, struct audit_before *before)
{
	unsigned found = 0;
	struct key *key = NULL;

	if (audit->ordered && record->has_key)
		key = key_of(audit, record, &found, before);
	if (item->seen != 0) {
		before->event = item->seen - 1;
		return found | AUDIT_REPEATED |
		       (before->event != record->place ? AUDIT_ELSEWHERE : 0);
	}
	item->seen = (uint32_t)record->place + 1;
	if (!item->told)
		item->id = record->id;
	if (key != NULL && is_late(key, item->id != AUDIT_NO_ID ? item->id : record->id)) {
		before->ahead = key->last_id;
		found |= AUDIT_OUT_OF_ORDER;
	}
	return found;
}

static unsigned judge(struct audit *audit, const struct audit_record *record,
		      struct audit_before *before)
{
	struct item *item;
	unsigned found;

	if (!record->has_name)
		return AUDIT_WITHOUT_NAME;
	item = hashed_add(&audit->items, (const uint64_t[]){record->name.high, record->name.low});
	found = item->told ? 0 : AUDIT_UNKNOWN;
	if (!record->is_replay)
		return found | judge_arrival(audit, record, item, before);
	/* The event is there, but this is not where it came first. */
	item->replayed = true;
	return found | AUDIT_REPLAYED;
}

unsigned audit_record(struct audit *audit, const struct audit_record *record,
		      struct audit_before *before)
{
	struct audit_counts *counts;
	unsigned found;

	assert(record->place < audit->places);
	counts = &audit->counts[record->place];
	found = judge(audit, record, before);
	counts->records++;
	counts->repeated += (found & AUDIT_REPEATED) != 0;
	counts->repeated_runs += (found & AUDIT_REPEATED) != 0 && !counts->in_run;
	counts->out_of_order += (found & AUDIT_OUT_OF_ORDER) != 0;
	counts->misplaced += (found & AUDIT_MISPLACED) != 0;
	counts->unknown += (found & AUDIT_UNKNOWN) != 0;
	counts->replayed += (found & AUDIT_REPLAYED) != 0;
	counts->without_name += (found & AUDIT_WITHOUT_NAME) != 0;
	counts->in_run = (found & AUDIT_REPEATED) != 0;
	return found;
}

void audit_pardon(struct audit *audit, size_t place)
{
	assert(place < audit->places && audit->counts[place].out_of_order > 0);
	audit->counts[place].out_of_order--;
	audit->counts[place].overlapping++;
}

/* ---- what came of it ---- */

static bool is_missing(const struct item *item)
{
	return item->known == AUDIT_DUE && item->seen == 0 && !item->replayed;
}

struct search {
	void (*each)(void *arg, struct audit_name name, int64_t id);
	void *arg;
};

static void on_item(void *arg, void *item)
{
	const struct search *search = arg;
	const struct item *i = item;

	if (is_missing(i))
		search->each(search->arg, (struct audit_name){i->name[0], i->name[1]}, i->id);
}

void audit_missing(struct audit *audit, void (*each)(void *arg, struct audit_name name, int64_t id),
		   void *arg)
{
	struct search search = {each, arg};

	hashed_each(&audit->items, on_item, &search);
}

static const struct item *find(const struct audit *audit, struct audit_name name)
{
	return hashed_find(&audit->items, (const uint64_t[]){name.high, name.low});
}

bool audit_is_missing(const struct audit *audit, struct audit_name name)
{
	const struct item *item = find(audit, name);

	return item != NULL && is_missing(item);
}

int64_t audit_id(const struct audit *audit, struct audit_name name)
{
	const struct item *item = find(audit, name);

	return item != NULL ? item->id : AUDIT_NO_ID;
}

const struct audit_counts *audit_counts(const struct audit *audit, size_t place)
{
	assert(place < audit->places);
	return &audit->counts[place];
}

struct audit_counts audit_total(const struct audit *audit)
{
	struct audit_counts sum = {.records = 0};

	for (size_t i = 0; i < audit->places; i++) {
		const struct audit_counts *counts = &audit->counts[i];

		sum.records += counts->records;
		sum.repeated += counts->repeated;
		sum.repeated_runs += counts->repeated_runs;
		sum.out_of_order += counts->out_of_order;
		sum.overlapping += counts->overlapping;
		sum.misplaced += counts->misplaced;
		sum.unknown += counts->unknown;
		sum.replayed += counts->replayed;
		sum.without_name += counts->without_name;
	}
	return sum;
}

uint64_t audit_due(const struct audit *audit)
{
	return audit->due;
}

size_t audit_bytes(const struct audit *audit)
{
	return hashed_bytes(&audit->items) + hashed_bytes(&audit->keys);
}
