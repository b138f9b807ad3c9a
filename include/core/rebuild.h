/* SPDX-License-Identifier: ISC */
/*
 * rebuild.h - why a producer is made anew: the cause label of outbox_relay_producer_rebuilds_total
 */
#ifndef OUTBOX_REBUILD_H
#define OUTBOX_REBUILD_H

enum rebuild_cause {
	REBUILD_BROKEN,	  /* the sink says so */
	REBUILD_GIVEN_UP, /* what it had was taken back */
	REBUILD_ABORTED,  /* its transaction is not to be committed */
	REBUILD_IN_DOUBT, /* whether that was committed is not known */
	REBUILD_UNCLEAN,  /* it was, but something of that may still be on its way */
	REBUILD_SESSION,  /* another session may have another one */
	REBUILD_CAUSES
};

#endif
