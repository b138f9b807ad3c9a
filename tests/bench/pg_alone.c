/* SPDX-License-Identifier: ISC */
/*
 * pg_alone.c - the relay's claim against a full outbox with nothing published: what Postgres alone
 * gives
 *
 * usage: pg_alone DSN STATEMENT EXPECTED-EVENTS
 *
 * The parameters of STATEMENT: bigint $1 the low watermark, $2 how many rows; if there, bigint $3
 * how many bytes, and $4 the keys that are held back: none.
 */
#include <endian.h>
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CLAIM_ROWS = 2500, CLAIM_BYTES = 16 << 20, BATCH_CLAIMS = 4, MAX_PARAMS = 4, MOVED_ON = -1 };

/* As the relay's session has it: the claim must walk the index whatever the statistics say. */
static const char *const SETTINGS[] = {
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET jit = off",
    "SET max_parallel_workers_per_gather = 0",
};

static void fail(PGconn *db, const char *what)
{
	fprintf(stderr, "pg_alone: cannot %s: %s", what, PQerrorMessage(db));
	exit(1);
}

static double seconds(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run(PGconn *db, const char *sql)
{
	PGresult *res = PQexec(db, sql);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		fail(db, sql);
	PQclear(res);
}

static PGconn *open_session(const char *dsn, const char *statement)
{
	PGconn *db = PQconnectdb(dsn);
	if (PQstatus(db) != CONNECTION_OK)
		fail(db, "connect");
	for (size_t i = 0; i < sizeof(SETTINGS) / sizeof(SETTINGS[0]); i++)
		run(db, SETTINGS[i]);
	PGresult *res = PQprepare(db, "claim", statement, 0, NULL);
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		fail(db, "prepare the claim");
	PQclear(res);
	return db;
}

/* How many parameters the claim has. */
static int parameters(PGconn *db)
{
	PGresult *res = PQdescribePrepared(db, "claim");
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		fail(db, "describe the claim");
	int params = PQnparams(res);
	PQclear(res);
	if (params > MAX_PARAMS) {
		fprintf(stderr, "pg_alone: a claim with %d parameters is not known here\n", params);
		exit(1);
	}
	return params;
}

/* As the relay: binary parameters and results. The low watermark stays 0. MOVED_ON: no events, and
 * there may be more (an id of 0, see sql_claim_position.c). */
static int claim(PGconn *db, int params)
{
	const uint64_t numbers[] = {0, htobe64(CLAIM_ROWS), htobe64(CLAIM_BYTES)};
	const char *values[MAX_PARAMS] = {(const char *)&numbers[0], (const char *)&numbers[1],
					  (const char *)&numbers[2], NULL};
	PGresult *res = PQexecPrepared(db, "claim", params, values, (const int[]){8, 8, 8, 0},
				       (const int[]){1, 1, 1, 1}, 1);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		fail(db, "claim");
	int rows = PQntuples(res);
	if (rows == 1 && be64toh(*(const uint64_t *)PQgetvalue(res, 0, 0)) == 0)
		rows = MOVED_ON;
	PQclear(res);
	return rows;
}

static long drain(PGconn *db, int params)
{
	long events = 0;
	for (int last = CLAIM_ROWS; last != 0;) {
		run(db, "BEGIN");
		for (int i = 0; i < BATCH_CLAIMS && last != 0; i++) {
			last = claim(db, params);
			events += last > 0 ? last : 0;
		}
		run(db, "COMMIT");
	}
	return events;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: pg_alone DSN STATEMENT EXPECTED-EVENTS\n");
		return 2;
	}
	PGconn *db = open_session(argv[1], argv[2]);
	const int params = parameters(db);
	double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	long events = drain(db, params);
	double end = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	PQfinish(db);
	if (events != atol(argv[3])) {
		fprintf(stderr, "pg_alone: took %ld events where %s were expected\n", events,
			argv[3]);
		return 1;
	}
	printf("{\"events\": %ld, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", events, end - start,
	       cpu);
	return 0;
}
