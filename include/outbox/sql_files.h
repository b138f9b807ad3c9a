/* SPDX-License-Identifier: ISC */
/*
 * sql_files.h - the files of sql/ as part of the binary, in the order of their names
 */
#ifndef OUTBOX_SQL_FILES_H
#define OUTBOX_SQL_FILES_H

struct sql_file {
	const char *name; /* "0001_schema.sql"; NULL ends the table */
	const char *text;
};

extern const struct sql_file sql_files[];

#endif
