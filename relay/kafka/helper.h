/* SPDX-License-Identifier: ISC */
/*
 * helper.h - a thread for the calls of a producer with transactions, which block
 *
 * A helper belongs to one producer. It does one job at a time, and each job makes short calls and
 * looks between them whether it is to cease: librdkafka's cannot be interrupted. In the end it
 * destroys the producer, which blocks as well.
 *
 * Thread: loop; what is called from inside a job says so.
 */
#ifndef OUTBOX_KAFKA_HELPER_H
#define OUTBOX_KAFKA_HELPER_H

#include "internal.h"

#include <stdatomic.h>

/* How long one call may take. */
enum { HELPER_SLICE_MS = 300 };

/* The requests that end a transaction (EndTxn), and their answers. Counted by librdkafka's threads.
 */
struct end_requests {
	enum magic magic;
	atomic_uint sent;
	atomic_uint answered, failed; /* at least once for each; failed: no answer came */
};

typedef void helper_job(struct helper *helper, void *arg);

/* Not running yet. */
struct helper *helper_new(void);
/* Counts what the client that is made of it sends. To be freed after the client. */
void helper_watch(struct helper *helper, rd_kafka_conf_t *conf);
/* It runs, and the client is its from now on. wake_fd: an eventfd to be written when a job has
 * ended. False: no thread is to be had. */
bool helper_start(struct helper *helper, rd_kafka_t *rk, int wake_fd);
/* Starts a job, when none is under way or not yet taken. free_arg frees arg if nobody takes it. */
void helper_ask(struct helper *helper, helper_job *job, void *arg, void (*free_arg)(void *arg));
/* The arg of the job that has ended, now the caller's; NULL: it is under way, or there is none. */
void *helper_take(struct helper *helper);
/* What it does is to come to its end, and nothing more is to be begun. */
void helper_cease(struct helper *helper);
/* It ceases, destroys the producer, and ends: to be joined, and then freed. aborts: it tries first
 * to abort the open transaction, which was not to be committed. */
void helper_end(struct helper *helper, bool aborts);
pthread_t helper_thread(const struct helper *helper);
void helper_free(struct helper **helper);
/* Instead of that, for a client that could not be made: librdkafka may have begun threads for it,
 * which end in their own time and count until then. So nothing of the helper is given back. */
void helper_leave(struct helper **helper);

/* Inside a job. */
bool helper_ceases(const struct helper *helper);
rd_kafka_t *helper_client(const struct helper *helper);
const struct end_requests *helper_end_requests(const struct helper *helper);
void helper_nap(int ms);

/* What a call of librdkafka's transactions has answered. */
enum outcome_kind {
	OUTCOME_GOOD,
	OUTCOME_AGAIN,	/* the same call once more: it goes on, or may succeed */
	OUTCOME_FENCED, /* another producer has the id */
	OUTCOME_FAILED, /* this producer is done */
};

struct outcome {
	enum outcome_kind kind;
	rd_kafka_resp_err_t code;
	char words[400];
};

/* Takes error, which may be NULL. Thread: any. */
struct outcome kafka_outcome(rd_kafka_error_t *error);

/* Inside a job: ends the open transaction, in which something was produced. OUTCOME_AGAIN: what
 * came of it is not known, since the helper was told to cease, or until_us (clock_monotonic_us; 0:
 * never) has come. A success that no answer to EndTxn stands for is OUTCOME_FAILED. */
struct helper_commit {
	struct outcome outcome;
	bool clean; /* one request was sent, and one answer came, whatever it said */
};
void helper_commit(struct helper *helper, int64_t until_us, struct helper_commit *commit);
void helper_abort(struct helper *helper, struct outcome *outcome);

#endif
