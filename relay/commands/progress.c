/* SPDX-License-Identifier: ISC */
/*
 * progress.c - a line on stderr about long work: how far, how fast, how much longer
 */
#include "progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

enum { EVERY_US = 200 * 1000 };

static struct {
	bool shown, written;
	int64_t total, begun_us, written_us;
	const char *unit;
} line;

void progress_begin(int64_t total, const char *unit)
{
	line.shown = isatty(STDERR_FILENO) == 1;
	line.written = false;
	line.total = total;
	line.unit = unit;
	line.begun_us = line.written_us = clock_monotonic_us();
}

static void print_left(int64_t done, double rate)
{
	double seconds = (double)(line.total - done) / rate;

	if (seconds >= 120)
		fprintf(stderr, ", %.0f min left", seconds / 60);
	else
		fprintf(stderr, ", %.0f s left", seconds);
}

static void write_line(int64_t done, int64_t now_us)
{
	double rate = (double)done * 1e6 / (double)(now_us - line.begun_us);

	fprintf(stderr, "\r\x1b[K%" PRId64, done);
	if (line.total >= 0)
		fprintf(stderr, " of %" PRId64, line.total);
	fprintf(stderr, " %s, %.0f/s", line.unit, rate);
	if (line.total > done && rate > 0)
		print_left(done, rate);
	fflush(stderr);
	line.written = true;
	line.written_us = now_us;
}

void progress_step(int64_t done)
{
	int64_t now_us;

	if (!line.shown)
		return;
	now_us = clock_monotonic_us();
	if (now_us - line.written_us >= EVERY_US)
		write_line(done, now_us);
}

void progress_end(void)
{
	if (line.written)
		fputs("\r\x1b[K", stderr);
	line.shown = line.written = false;
}
