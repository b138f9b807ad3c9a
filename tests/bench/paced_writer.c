/* SPDX-License-Identifier: ISC */
/*
 * paced_writer.c - inserts events at a steady rate, so many per transaction, and notes when each
 * committed
 *
 * usage: paced_writer DSN RATE SECONDS CONNECTIONS KEYS PER_TRANSACTION > times
 *
 * Event n, with those of its transaction behind it, is due n / RATE after the start, whatever
 * happened to those before it, so a slow commit does not make the load lighter. SIGTERM ends it
 * before that. Each line of the output: n, microseconds (CLOCK_MONOTONIC) just before COMMIT was
 * sent, and just after it returned. The payload begins with {"n": "<n, ten digits>".
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAD_BYTES = 272 }; /* makes the payload 300 bytes */

struct times {
	int64_t before_us, after_us;
};

struct load {
	const char *dsn;
	long rate, events, connections, keys, per_transaction;
	int64_t start_us;
	struct times *times; /* by event */
};

struct worker {
	const struct load *load;
	long first;
	PGconn *db;
	pthread_t thread;
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static int64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_until(int64_t us)
{
	struct timespec due = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0)
		;
}

static void check(PGconn *db, PGresult *res)
{
	if (PQresultStatus(res) != PGRES_COMMAND_OK) {
		fprintf(stderr, "paced_writer: %s", PQerrorMessage(db));
		exit(1);
	}
	PQclear(res);
}

static PGconn *open_session(const char *dsn)
{
	PGconn *db = PQconnectdb(dsn);
	if (PQstatus(db) != CONNECTION_OK) {
		fprintf(stderr, "paced_writer: cannot connect: %s", PQerrorMessage(db));
		exit(1);
	}
	check(db,
	      PQprepare(
		  db, "insert",
		  "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) "
		  "VALUES ('bench', $1, 'BenchEvent', $2)",
		  2, NULL));
	return db;
}

static void insert(PGconn *db, const struct load *load, long n)
{
	static const char PAD[] = "0123456789abcdef0123456789abcdef";
	char key[32], payload[PAD_BYTES + 64];
	uint64_t mixed = (uint64_t)n * UINT64_C(11400714819323198485) >> 20;
	snprintf(key, sizeof(key), "key-%05llu",
		 (unsigned long long)mixed % (unsigned long)load->keys);
	int used = snprintf(payload, sizeof(payload), "{\"n\": \"%010ld\", \"t\": \"", n);
	for (size_t i = 0; i < PAD_BYTES; i++)
		payload[(size_t)used + i] = PAD[i % 32];
	memcpy(payload + used + PAD_BYTES, "\"}", 3);
	check(db, PQexecPrepared(db, "insert", 2, (const char *[]){key, payload}, NULL, NULL, 0));
}

/* One transaction of the events from first on. */
static void commit(PGconn *db, const struct load *load, long first)
{
	long end = first + load->per_transaction;
	if (end > load->events)
		end = load->events;
	check(db, PQexec(db, "BEGIN"));
	for (long n = first; n < end; n++)
		insert(db, load, n);
	struct times times = {.before_us = now_us()};
	check(db, PQexec(db, "COMMIT"));
	times.after_us = now_us();
	for (long n = first; n < end; n++)
		load->times[n] = times;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	const struct load *load = worker->load;
	long each = load->per_transaction;
	for (long n = worker->first * each; n < load->events && !stopped;
	     n += load->connections * each) {
		sleep_until(load->start_us + n * 1000000 / load->rate);
		commit(worker->db, load, n);
	}
	return NULL;
}

static void run(struct load *load)
{
	struct worker *workers = calloc((size_t)load->connections, sizeof(*workers));
	for (long i = 0; i < load->connections; i++)
		workers[i] =
		    (struct worker){.load = load, .first = i, .db = open_session(load->dsn)};
	load->start_us = now_us() + 10000;
	for (long i = 0; i < load->connections; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	for (long i = 0; i < load->connections; i++) {
		pthread_join(workers[i].thread, NULL);
		PQfinish(workers[i].db);
	}
	free(workers);
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "usage: paced_writer DSN RATE SECONDS CONNECTIONS KEYS "
				"PER_TRANSACTION\n");
		return 2;
	}
	struct load load = {.dsn = argv[1],
			    .rate = atol(argv[2]),
			    .connections = atol(argv[4]),
			    .keys = atol(argv[5]),
			    .per_transaction = atol(argv[6])};
	load.events = load.rate * atol(argv[3]);
	load.times = calloc((size_t)load.events, sizeof(*load.times));
	signal(SIGTERM, stop);
	run(&load);
	for (long n = 0; n < load.events; n++)
		if (load.times[n].after_us > 0)
			printf("%ld %lld %lld\n", n, (long long)load.times[n].before_us,
			       (long long)load.times[n].after_us);
	free(load.times);
	return 0;
}
