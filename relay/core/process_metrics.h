/*
 * process_metrics.h - what the operating system knows of this process
 */
#ifndef OUTBOX_PROCESS_METRICS_H
#define OUTBOX_PROCESS_METRICS_H

/* Negative where it could not be read. */
struct process_metrics {
	double resident_memory_bytes;
	double cpu_seconds;
	double open_fds;
	double start_time_seconds; /* since 1970 */
};

void process_metrics_read(struct process_metrics *process);

#endif
