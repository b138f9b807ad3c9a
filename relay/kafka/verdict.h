/*
 * verdict.h - whose fault a broker's error is: the event's, or the environment's
 *
 * An error of the event makes it a reject: sent again, it would fail again, while other events of
 * its topic are taken. An error of the environment says nothing of the event: it is published again
 * later, for as long as it takes. A name that is not known counts as the environment's, so that
 * nothing is ever dead-lettered by mistake. Pure.
 */
#ifndef OUTBOX_VERDICT_H
#define OUTBOX_VERDICT_H

#include "core/event.h"

/* The reject an error may stand for, by the protocol's name of it ("MSG_SIZE_TOO_LARGE");
 * REJECT_NONE for an error that is always the environment's. */
enum reject_reason verdict_of(const char *error_name);

/* What to do about an error, to be put behind its description: "; ...", or "". */
const char *verdict_advice(const char *error_name);

#endif
