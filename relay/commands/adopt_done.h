/*
 * adopt_done.h - columns by which an application tells the events that it has handled already
 *
 * The relay does not read such a column: it would publish these events again. Pure.
 */
#ifndef OUTBOX_ADOPT_DONE_H
#define OUTBOX_ADOPT_DONE_H

#include "adopt_plan.h"

/* The condition, in SQL, under which the column says that a row was handled; malloc'd. NULL if the
 * name says nothing of the kind. */
char *adopt_done_condition(const struct adopt_column *column);

#endif
