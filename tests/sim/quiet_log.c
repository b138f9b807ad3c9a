/* SPDX-License-Identifier: ISC */
/*
 * quiet_log.c - stands in for log.c: thousands of runs a second need no words
 */
#include "base/log.h"

void log_setup(enum log_level level, enum log_format format)
{
	(void)level;
	(void)format;
}

bool log_wants(enum log_level level)
{
	(void)level;
	return false;
}

void log_line(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

void log_fact(enum log_level level, const char *code, const struct log_field *fields,
	      const char *format, ...)
{
	(void)level;
	(void)code;
	(void)fields;
	(void)format;
}

struct log_field field_text(const char *name, const char *text)
{
	return field_slice(name, slice_of(text));
}

struct log_field field_slice(const char *name, struct slice text)
{
	return (struct log_field){.name = name, .text = text};
}

struct log_field field_hash(const char *name, struct slice text)
{
	return field_slice(name, text);
}

struct log_field field_number(const char *name, int64_t number)
{
	return (struct log_field){.name = name, .number = number};
}

struct log_field field_seconds(const char *name, int64_t microseconds)
{
	return field_number(name, microseconds);
}

struct log_field field_sqlstate(const char *words)
{
	return field_text("sqlstate", words);
}

bool log_limit_due(struct log_limit *limit, int64_t now_us, int64_t every_us)
{
	(void)limit;
	(void)now_us;
	(void)every_us;
	return false;
}
