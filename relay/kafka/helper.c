/* SPDX-License-Identifier: ISC */
/*
 * helper.c - a thread for the calls of a producer with transactions, which block
 */
#include "helper.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

/* As long as that takes, nobody waits for it. */
enum { ABORT_MS = 1000 };

struct helper {
	enum magic magic;
	pthread_t thread;
	rd_kafka_t *rk; /* owned once it runs */
	int wake_fd;
	atomic_bool ceases;
	struct end_requests end_requests;

	pthread_mutex_t mutex; /* for what follows */
	pthread_cond_t changed;
	helper_job *job; /* NULL: none */
	void *arg;	 /* owned while there is a job */
	void (*free_arg)(void *arg);
	bool done, ends, aborts;

	struct helper *left; /* before it; the loop's thread alone */
};

/* ---- counting ---- */

enum { END_TXN = 26 }; /* the protocol's ApiKey */

/* Thread: a broker's. */
static rd_kafka_resp_err_t on_sent(rd_kafka_t *rk, int fd, const char *broker, int32_t broker_id,
				   int16_t api_key, int16_t api_version, int32_t id, size_t size,
				   void *opaque)
{
	struct end_requests *requests = opaque;

	(void)rk, (void)fd, (void)broker, (void)broker_id, (void)api_version, (void)id, (void)size;
	MAGIC_CHECK(requests, MAGIC_KAFKA_END_REQUESTS);
	if (api_key == END_TXN)
		atomic_fetch_add(&requests->sent, 1);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Thread: a broker's, then librdkafka's main thread: it is called twice for one answer. Also of
 * what was never answered, with an error of librdkafka's (rd_kafka_buf_callback). An error of the
 * broker's is in the answer, and is not seen here: it becomes an error of the call, or another
 * request. */
static rd_kafka_resp_err_t on_answered(rd_kafka_t *rk, int fd, const char *broker,
				       int32_t broker_id, int16_t api_key, int16_t api_version,
				       int32_t id, size_t size, int64_t took_us,
				       rd_kafka_resp_err_t code, void *opaque)
{
	struct end_requests *requests = opaque;

	(void)rk, (void)fd, (void)broker, (void)broker_id, (void)api_version, (void)id, (void)size;
	(void)took_us;
	MAGIC_CHECK(requests, MAGIC_KAFKA_END_REQUESTS);
	if (api_key == END_TXN)
		atomic_fetch_add(code == RD_KAFKA_RESP_ERR_NO_ERROR ? &requests->answered
								    : &requests->failed,
				 1);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
				  char *words, size_t words_size)
{
	struct end_requests *requests = opaque;

	(void)conf, (void)words, (void)words_size;
	MAGIC_CHECK(requests, MAGIC_KAFKA_END_REQUESTS);
	rd_kafka_interceptor_add_on_request_sent(rk, "outbox-relay", on_sent, requests);
	return rd_kafka_interceptor_add_on_response_received(rk, "outbox-relay", on_answered,
							     requests);
}

void helper_watch(struct helper *helper, rd_kafka_conf_t *conf)
{
	rd_kafka_conf_interceptor_add_on_new(conf, "outbox-relay", on_new, &helper->end_requests);
}

/* ---- the thread ---- */

static void finish(struct helper *helper)
{
	pthread_mutex_lock(&helper->mutex);
	helper->done = true;
	pthread_mutex_unlock(&helper->mutex);
	eventfd_write(helper->wake_fd, 1);
}

/* False if there will be no more. */
static bool await_job(struct helper *helper)
{
	bool goes_on;

	pthread_mutex_lock(&helper->mutex);
	while ((helper->job == NULL || helper->done) && !helper->ends)
		pthread_cond_wait(&helper->changed, &helper->mutex);
	goes_on = !helper->ends;
	pthread_mutex_unlock(&helper->mutex);
	return goes_on;
}

static void *help(void *arg)
{
	struct helper *helper = arg;

	MAGIC_CHECK(helper, MAGIC_KAFKA_HELPER);
	while (await_job(helper)) {
		helper->job(helper, helper->arg);
		finish(helper);
	}
	if (helper->aborts)
		kafka_outcome(rd_kafka_abort_transaction(helper->rk, ABORT_MS));
	rd_kafka_destroy(helper->rk);
	return NULL;
}

struct helper *helper_new(void)
{
	struct helper *helper = xcalloc(1, sizeof(*helper));

	helper->magic = MAGIC_KAFKA_HELPER;
	helper->end_requests.magic = MAGIC_KAFKA_END_REQUESTS;
	pthread_mutex_init(&helper->mutex, NULL);
	pthread_cond_init(&helper->changed, NULL);
	return helper;
}

bool helper_start(struct helper *helper, rd_kafka_t *rk, int wake_fd)
{
	helper->rk = rk;
	helper->wake_fd = wake_fd;
	return pthread_create(&helper->thread, NULL, help, helper) == 0;
}

void helper_ask(struct helper *helper, helper_job *job, void *arg, void (*free_arg)(void *arg))
{
	pthread_mutex_lock(&helper->mutex);
	assert(helper->job == NULL && !helper->ends);
	helper->job = job;
	helper->arg = arg;
	helper->free_arg = free_arg;
	helper->done = false;
	pthread_cond_signal(&helper->changed);
	pthread_mutex_unlock(&helper->mutex);
}

void *helper_take(struct helper *helper)
{
	void *arg = NULL;

	pthread_mutex_lock(&helper->mutex);
	if (helper->job != NULL && helper->done) {
		arg = helper->arg;
		helper->job = NULL;
	}
	pthread_mutex_unlock(&helper->mutex);
	return arg;
}

void helper_cease(struct helper *helper)
{
	atomic_store(&helper->ceases, true);
}

void helper_end(struct helper *helper, bool aborts)
{
	helper_cease(helper);
	pthread_mutex_lock(&helper->mutex);
	helper->ends = true;
	helper->aborts = aborts;
	pthread_cond_signal(&helper->changed);
	pthread_mutex_unlock(&helper->mutex);
}

pthread_t helper_thread(const struct helper *helper)
{
	return helper->thread;
}

void helper_free(struct helper **helper)
{
	struct helper *h = *helper;

	*helper = NULL;
	if (h == NULL)
		return;
	if (h->job != NULL && h->free_arg != NULL)
		h->free_arg(h->arg);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->mutex);
	free(h);
}

/* They are few: it takes a machine on which threads do not start within seconds. */
void helper_leave(struct helper **helper)
{
	static struct helper *last;

	(*helper)->left = last;
	last = *helper;
	*helper = NULL;
}

/* ---- inside a job ---- */

bool helper_ceases(const struct helper *helper)
{
	return atomic_load(&helper->ceases);
}

rd_kafka_t *helper_client(const struct helper *helper)
{
	return helper->rk;
}

const struct end_requests *helper_end_requests(const struct helper *helper)
{
	return &helper->end_requests;
}

void helper_nap(int ms)
{
	const struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&nap, NULL);
}

struct outcome kafka_outcome(rd_kafka_error_t *error)
{
	struct outcome outcome = {.kind = OUTCOME_GOOD};

	if (error == NULL)
		return outcome;
	outcome.code = rd_kafka_error_code(error);
	text_print(outcome.words, sizeof(outcome.words), "%s (%s)", rd_kafka_error_string(error),
		   rd_kafka_error_name(error));
	if (kafka_is_fenced(outcome.code))
		outcome.kind = OUTCOME_FENCED;
	else if (rd_kafka_error_is_retriable(error) && !rd_kafka_error_is_fatal(error))
		outcome.kind = OUTCOME_AGAIN;
	else
		outcome.kind = OUTCOME_FAILED;
	rd_kafka_error_destroy(error);
	return outcome;
}

/* ---- the end of a transaction ---- */

/* Between two calls, where the first was answered at once. */
enum { AGAIN_MS = 20 };

/* The same call goes on waiting (rd_kafka_txn_op_req0); any other error that may be tried again
 * makes a new request of it. */
static bool only_waits(const struct outcome *outcome)
{
	return outcome->code == RD_KAFKA_RESP_ERR__TIMED_OUT;
}

static bool may_go_on(const struct helper *helper, int64_t until_us)
{
	return !helper_ceases(helper) && (until_us == 0 || clock_monotonic_us() < until_us);
}

/* So often is a call made again whose answer was another one's. */
enum { STRAY_MOST = 3 };

/* A call that was given up at its very beginning leaves its answer to the next one, which then may
 * fail as not valid in the state that it has led to itself (librdkafka 2.0.2,
 * rd_kafka_txn_op_req0). Made again at once it goes on waiting. An answer to EndTxn that finds no
 * call is taken for that of an abort, and ends the process (rd_kafka_txn_endtxn_complete). */
static struct outcome call_commit(rd_kafka_t *rk, bool *stray)
{
	struct outcome outcome;
	int tries = 0;

	do {
		outcome = kafka_outcome(rd_kafka_commit_transaction(rk, HELPER_SLICE_MS));
		*stray = *stray || outcome.code == RD_KAFKA_RESP_ERR__STATE;
	} while (outcome.code == RD_KAFKA_RESP_ERR__STATE && tries++ < STRAY_MOST);
	return outcome;
}

/* Two calls that were given up so may even make a success of the third. */
static void doubt_success(struct helper_commit *commit)
{
	if (commit->outcome.kind != OUTCOME_GOOD)
		return;
	commit->outcome.kind = OUTCOME_FAILED;
	text_print(commit->outcome.words, sizeof(commit->outcome.words),
		   "the answer may be that of an earlier call");
}

void helper_commit(struct helper *helper, int64_t until_us, struct helper_commit *commit)
{
	const struct end_requests *requests = &helper->end_requests;
	unsigned sent = atomic_load(&requests->sent), answered = atomic_load(&requests->answered),
		 failed = atomic_load(&requests->failed);
	bool repeated = false, stray = false;

	commit->outcome.kind = OUTCOME_AGAIN;
	while (commit->outcome.kind == OUTCOME_AGAIN && may_go_on(helper, until_us)) {
		commit->outcome = call_commit(helper->rk, &stray);
		if (only_waits(&commit->outcome) && atomic_load(&requests->sent) == sent)
			stray = true; /* given up before it did anything, as it seems */
		if (commit->outcome.kind != OUTCOME_AGAIN || only_waits(&commit->outcome))
			continue;
		repeated = true;
		helper_nap(AGAIN_MS);
	}
	if (stray || atomic_load(&requests->answered) == answered)
		doubt_success(commit);
	commit->clean = !repeated && atomic_load(&requests->sent) - sent == 1 &&
			atomic_load(&requests->answered) != answered &&
			atomic_load(&requests->failed) == failed;
}

void helper_abort(struct helper *helper, struct outcome *outcome)
{
	outcome->kind = OUTCOME_AGAIN;
	while (outcome->kind == OUTCOME_AGAIN && !helper_ceases(helper)) {
		*outcome = kafka_outcome(rd_kafka_abort_transaction(helper->rk, HELPER_SLICE_MS));
		if (outcome->kind == OUTCOME_AGAIN && !only_waits(outcome))
			helper_nap(AGAIN_MS);
	}
}
