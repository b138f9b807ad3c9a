/* SPDX-License-Identifier: ISC */
/*
 * process_metrics.c - what Linux knows of this process, from /proc/self. A hardened unit
 * (ProcSubset=pid) hides /proc/stat
 */
#include "process_metrics.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Reads a small file of /proc as a string. */
static bool read_small(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "re");
	size_t len;

	if (file == NULL)
		return false;
	len = fread(out, 1, size - 1, file);
	fclose(file);
	out[len] = '\0';
	return len > 0;
}

static double seconds_of(clockid_t id)
{
	struct timespec now;

	if (clock_gettime(id, &now) != 0)
		return -1;
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double resident_memory(void)
{
	char text[256];
	unsigned long pages;

	if (!read_small("/proc/self/statm", text, sizeof(text)) ||
	    sscanf(text, "%*u %lu", &pages) != 1)
		return -1;
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	double count = -1; /* the directory itself is open too */

	if (dir == NULL)
		return -1;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			count++;
	closedir(dir);
	return count;
}

/* Field 22 of stat counts clock ticks from boot; the name in field 2 may hold blanks and brackets.
 */
static double start_time(void)
{
	char text[1024];
	const char *rest;
	unsigned long long ticks;

	if (!read_small("/proc/self/stat", text, sizeof(text)))
		return -1;
	rest = strrchr(text, ')');
	if (rest == NULL || sscanf(rest + 1,
				   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d"
				   " %*d %*d %*d %*d %llu",
				   &ticks) != 1)
		return -1;
	return seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) +
	       (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void process_metrics_read(struct process_metrics *process)
{
	/* Once: the difference of two clocks would wander by a little at each reading. */
	static double started;

	if (started <= 0)
		started = start_time();
	process->resident_memory_bytes = resident_memory();
	process->cpu_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
	process->open_fds = open_fds();
	process->start_time_seconds = started;
}
