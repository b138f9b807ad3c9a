/*
 * run.h - the command `run`: one shard, one session, one producer, one loop
 */
#ifndef OUTBOX_DAEMON_H
#define OUTBOX_DAEMON_H

/* argv from "run" on; the exit status. Returns when the relay has been told to stop or must halt.
 */
int cmd_run(int argc, char **argv);

#endif
