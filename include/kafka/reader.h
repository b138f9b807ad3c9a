/* SPDX-License-Identifier: ISC */
/*
 * reader.h - reads what topics hold, in no consumer group: nothing is left behind at the brokers
 *
 * Records of transactions that were not committed are not seen (read_committed), nor what lies
 * behind the beginning of one that is open: it is waited for for some seconds. Functions block,
 * unless something else is said. Thread: one, always the same.
 */
#ifndef OUTBOX_KAFKA_READER_H
#define OUTBOX_KAFKA_READER_H

#include "base/error.h"
#include "base/slice.h"
#include "kafka.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kafka_reader;

/* A partition that is read. */
struct kafka_place {
	const char *topic;
	size_t topic_number; /* as its topic was added, from 0 */
	int32_t partition;
	int64_t low, high; /* the offset of the first record, and the one after the last */
	int64_t begin;	   /* where reading begins */
	/* The time of the first record that was read, in ms since 1970; -1: none was, or it has
	 * no time. */
	int64_t first_ms;
	bool
	    cut; /* its end was not reached: another producer's transaction stayed open before it */
};

/* All of it is borrowed until the next record. */
struct kafka_record {
	size_t place;
	int64_t offset, time_ms; /* since 1970; -1: not known */
	struct slice key, value; /* data == NULL: none */
	const void *message;
};

/* Connects. NULL and err when no broker has answered within the time; kafka_probe says more about
 * why. What options points to is
 * borrowed. */
struct kafka_reader *kafka_reader_new(const struct kafka_options *options, int timeout_ms,
				      struct error *err);
void kafka_reader_free(struct kafka_reader **reader);

/* Every topic that we may see. Does not block. */
void kafka_reader_topics(const struct kafka_reader *reader,
			 void (*each)(void *arg, const char *topic), void *arg);

/* All partitions of a topic are to be read. False and err if it is not there. Does not block. */
bool kafka_reader_add(struct kafka_reader *reader, const char *topic, struct error *err);

/* Never moves before the next kafka_reader_add. */
size_t kafka_reader_count(const struct kafka_reader *reader);
const struct kafka_place *kafka_reader_place(const struct kafka_reader *reader, size_t place);

/* Asks for low and high of every place; may be called again. Only what is below high is read. */
bool kafka_reader_mark(struct kafka_reader *reader, struct error *err);

/* Begins at the first record of this time or a later one, as the broker finds it; otherwise at low.
 */
bool kafka_reader_begin_at(struct kafka_reader *reader, int64_t time_ms, struct error *err);

/* The next record, places in any order, each in that of its offsets. NULL: none has come within
 * wait_ms, or all are read; or false in *good, and err. */
const struct kafka_record *kafka_reader_next(struct kafka_reader *reader, int wait_ms, bool *good,
					     struct error *err);
bool kafka_reader_is_done(const struct kafka_reader *reader);

/* Reads on behind high for ever, from the next kafka_reader_next on, which with wait_ms 0 does not
 * block then. fd is an eventfd: readable once there is something new. It is borrowed. */
void kafka_reader_follow(struct kafka_reader *reader, int fd);

/* A record that was read, once more, when all are: NULL if it is gone, or does not come within some
 * seconds. Borrowed until the next call. */
const struct kafka_record *kafka_reader_again(struct kafka_reader *reader, size_t place,
					      int64_t offset);

/* The first header of this name. Its data is NULL if it has no value. */
bool kafka_record_header(const struct kafka_record *record, const char *name, struct slice *value);

/* The header with this number, from 0 on; false if there are fewer. Borrowed as the record is. */
bool kafka_record_header_at(const struct kafka_record *record, size_t number, const char **name,
			    struct slice *value);

/* Where a producer of ours puts a key, among so many partitions. Pure. */
int32_t kafka_partition_of(struct slice key, int32_t partitions);

#endif
