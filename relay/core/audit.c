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

/* Widths of what is kept of an event, which make 64 bits together. */
enum { SEEN_BITS = 24, PARTITION_BITS = 16, KEY_BITS = 20, KNOWN_BITS = 2 };

/* An event, known or arrived. */
struct item {
	uint64_t name[2];
	int64_t id;
	uint64_t seen : SEEN_BITS; /* its first place, counted from 1; 0: it has not arrived */
	uint64_t partition
	    : PARTITION_BITS;	     /* that its row names, counted from 1; or PARTITION_* */
	uint64_t key : KEY_BITS;     /* a hash of the one that its row has; or KEY_* */
	uint64_t known : KNOWN_BITS; /* enum audit_known */
	uint64_t told : 1;	     /* it is known beside what arrived */
	uint64_t replayed : 1;	     /* it has arrived as a replay */
};

/* ANY: rows of the event differ, or the number is too large. */
enum {
	PARTITION_UNKNOWN = 0,
	PARTITION_ANY = (1 << PARTITION_BITS) - 1,
	PARTITION_BY_KEY = PARTITION_ANY - 1,
	KEY_UNKNOWN = 0,
	KEY_ANY = (1 << KEY_BITS) - 1
};

/* A key in a topic, where it was first; and once more for each further partition. Where rows name
 * partitions: in a topic, where the first one was that names none; and once more for each
 * partition. */
struct key {
	uint64_t hash[1];
	int64_t last_id; /* the highest that arrived there; AUDIT_NO_ID */
	uint32_t place;	 /* counted from 1 */
	bool unnamed;	 /* an event that names no partition has arrived there */
};

struct audit {
	struct hashed items, keys;
	struct audit_counts *counts; /* owned; by place */
	size_t places;
	bool ordered, placed; /* AUDIT_ORDERED, AUDIT_PLACED */
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

struct audit *audit_new(size_t places, unsigned rules)
{
	struct audit *audit = xcalloc(1, sizeof(*audit));

	assert(places < (size_t)1 << SEEN_BITS);
	hashed_init(&audit->items, sizeof(struct item), 2);
	hashed_init(&audit->keys, sizeof(struct key), 1);
	audit->counts = xcalloc(places, sizeof(*audit->counts));
	audit->places = places;
	audit->ordered = (rules & AUDIT_ORDERED) != 0;
	audit->placed = (rules & AUDIT_PLACED) != 0;
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
		item->known = (unsigned)known & ((1u << KNOWN_BITS) - 1);
}

/* ---- what a row says ---- */

static unsigned key_bits(struct slice key)
{
	return 1 + (unsigned)(hashed_slice(key, UINT64_C(0x165667b19e3779f9)) % (KEY_ANY - 1));
}

static unsigned partition_bits(int32_t partition)
{
	if (partition == AUDIT_BY_KEY)
		return PARTITION_BY_KEY;
	return partition < PARTITION_BY_KEY - 1 ? (unsigned)partition + 1 : PARTITION_ANY;
}

void audit_expect(struct audit *audit, struct audit_name name,
		  const struct audit_expected *expected)
{
	struct item *item = hashed_add(&audit->items, (const uint64_t[]){name.high, name.low});
	unsigned key = key_bits(expected->key), partition = partition_bits(expected->partition);

	item->key = (item->key == KEY_UNKNOWN || item->key == key ? key : KEY_ANY) & KEY_ANY;
	item->partition =
	    (item->partition == PARTITION_UNKNOWN || item->partition == partition ? partition
										  : PARTITION_ANY) &
	    PARTITION_ANY;
}

static bool is_named(const struct item *item)
{
	return item->partition != PARTITION_UNKNOWN && item->partition < PARTITION_BY_KEY;
}

static unsigned judge_row(const struct item *item, const struct audit_record *record,
			  struct audit_before *before)
{
	unsigned found = 0;

	before->named = AUDIT_BY_KEY;
	if (item->key != KEY_UNKNOWN && item->key != KEY_ANY && item->key != key_bits(record->key))
		found |= AUDIT_WRONG_KEY;
	if (is_named(item) && (int32_t)item->partition - 1 != record->partition) {
		before->named = (int32_t)item->partition - 1;
		found |= AUDIT_MISPLACED;
	}
	return found;
}

/* ---- keys ---- */

/* 0 stands for none. */
static struct key *add_key(struct audit *audit, uint64_t key)
{
	if (key == 0)
		key = 1;
	return hashed_add(&audit->keys, &key);
}

/* Adds it as of this place; false: it was there. */
static bool begin_key(struct key *key, size_t place)
{
	if (key->place != 0)
		return false;
	key->last_id = AUDIT_NO_ID;
	key->place = (uint32_t)place + 1;
	return true;
}

/* Of keys in different topics nothing is to be compared. */
static uint64_t hash_of(const struct audit_record *record)
{
	return hashed_slice(record->key, record->topic + 1);
}

static struct key *key_there(struct audit *audit, const struct audit_record *record)
{
	return add_key(audit, hashed_mix(hash_of(record) + record->place + 1));
}

/* A key in a partition. Partitions are read one beside the other, so there is no order between two
 * of them. */
static struct key *key_of(struct audit *audit, const struct audit_record *record, unsigned *found,
			  struct audit_before *before)
{
	struct key *key = add_key(audit, hash_of(record));

	if (begin_key(key, record->place) || key->place == record->place + 1)
		return key;
	before->key = key->place - 1;
	key = key_there(audit, record);
	*found |= begin_key(key, record->place) ? AUDIT_MISPLACED : 0;
	return key;
}

/* The same where rows name partitions. Those that name none are all in one. */
static struct key *placed_key_of(struct audit *audit, const struct audit_record *record,
				 const struct item *item, unsigned *found,
				 struct audit_before *before)
{
	bool unnamed = item->partition == PARTITION_BY_KEY;
	size_t home = record->place;
	struct key *key;

	if (unnamed) {
		key = add_key(audit, hash_of(record));
		begin_key(key, record->place);
		home = key->place - 1;
	}
	key = key_there(audit, record);
	begin_key(key, record->place);
	if (unnamed && !key->unnamed && home != record->place) {
		before->key = home;
		*found |= AUDIT_MISPLACED;
	}
	key->unnamed |= unnamed;
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
	unsigned found = judge_row(item, record, before);
	struct key *key = NULL;

	if (audit->ordered && record->has_key)
		key = audit->placed ? placed_key_of(audit, record, item, &found, before)
				    : key_of(audit, record, &found, before);
	if (item->seen != 0) {
		before->event = (size_t)item->seen - 1;
		return found | AUDIT_REPEATED |
		       (before->event != record->place ? AUDIT_ELSEWHERE : 0);
	}
	item->seen = (record->place + 1) & (((uint64_t)1 << SEEN_BITS) - 1);
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
	counts->wrong_key += (found & AUDIT_WRONG_KEY) != 0;
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
		sum.wrong_key += counts->wrong_key;
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
