/* SPDX-License-Identifier: ISC */
/*
 * open_settings.h - what a session of the relay sets
 *
 * Thread: any.
 */
#ifndef OUTBOX_OUTBOX_OPEN_SETTINGS_H
#define OUTBOX_OUTBOX_OPEN_SETTINGS_H

extern const char open_settings[], open_encoding[];

#endif
