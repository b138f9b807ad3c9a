/* SPDX-License-Identifier: ISC */
/*
 * page_files.h - the files that the server shows as they are: the status page and the runbooks
 *
 * Written by sql/embed.cmake from relay/http/page and docs/runbooks. Thread: any.
 */
#ifndef OUTBOX_HTTP_PAGE_FILES_H
#define OUTBOX_HTTP_PAGE_FILES_H

struct page_file {
	const char *name; /* "status.html", "paused.md" */
	const char *text;
};

/* Ends with a NULL name. */
extern const struct page_file page_files[];

#endif
