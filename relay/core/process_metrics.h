/* SPDX-License-Identifier: ISC */
/*
 * process_metrics.h - what Linux knows of this process
 */
#ifndef OUTBOX_CORE_PROCESS_METRICS_H
#define OUTBOX_CORE_PROCESS_METRICS_H

/* Negative where it could not be read. */
struct process_metrics {
	double resident_memory_bytes;
	double cpu_seconds;
	double open_fds;
	double start_time_seconds; /* since 1970 */
};

/* As it is now. Thread: loop. */
void process_metrics_read(struct process_metrics *process);

#endif
